//! Native sockets: where checks of the own zone leave and arrive, in the host's own network: no mark, no tunnel.
//! Verifies nothing; the core does.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_proto::native_check::{NATIVE_CHECK_BYTES, native_check_port};
use meshd_core::Input;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Datagrams taken from one socket in a second; further ones are dropped. A zone of thousands sends fewer.
const MAX_A_SECOND: u32 = 200;
/// After an error, so that one that stays is no busy loop.
const PAUSE: Duration = Duration::from_secs(1);

/// A socket for each address family that the host has, and the tasks that read them.
#[derive(Debug, Default)]
pub(super) struct NativeSockets {
    v4: Option<Arc<UdpSocket>>,
    v6: Option<Arc<UdpSocket>>,
    readers: Vec<JoinHandle<()>>,
}

impl NativeSockets {
    /// Opens what can be opened. Without any, nothing is checked: another daemon on this host may have the port,
    /// and the mesh does not depend on it.
    pub(super) fn open(wireguard_port: u16, inputs: &mpsc::Sender<Input>) -> Self {
        let Some(port) = native_check_port(wireguard_port) else {
            return Self::default();
        };
        let open = |address: SocketAddr| match bind(address) {
            Ok(socket) => Some(Arc::new(socket)),
            Err(error) => {
                tracing::info!(%address, "members of the own zone are not checked: {error}");
                None
            }
        };
        let v4 = open((Ipv4Addr::UNSPECIFIED, port).into());
        let v6 = open((Ipv6Addr::UNSPECIFIED, port).into());
        let readers = [&v4, &v6]
            .into_iter()
            .flatten()
            .map(|socket| tokio::spawn(read(Arc::clone(socket), inputs.clone())))
            .collect();
        Self { v4, v6, readers }
    }

    /// True if anything can be checked.
    pub(super) const fn any(&self) -> bool {
        self.v4.is_some() || self.v6.is_some()
    }

    /// Sends a check; what the kernel does not take is lost, and asked again.
    pub(super) fn send(&self, to: SocketAddr, bytes: &[u8]) {
        let socket = if to.is_ipv4() { &self.v4 } else { &self.v6 };
        if let Some(socket) = socket
            && let Err(error) = socket.try_send_to(bytes, to)
        {
            tracing::debug!(%to, "a check of the own zone was not sent: {error}");
        }
    }
}

impl Drop for NativeSockets {
    fn drop(&mut self) {
        for reader in &self.readers {
            reader.abort();
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM.nonblocking().cloexec(),
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

async fn read(socket: Arc<UdpSocket>, inputs: mpsc::Sender<Input>) {
    // One more, so that a longer datagram is told from a check.
    let mut buffer = [0; NATIVE_CHECK_BYTES + 1];
    let (mut second, mut taken) = (Instant::now(), 0);
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            // Somebody's ICMP answer, or worse.
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        if second.elapsed() >= Duration::from_secs(1) {
            (second, taken) = (Instant::now(), 0);
        }
        taken += 1;
        if length != NATIVE_CHECK_BYTES || taken > MAX_A_SECOND {
            continue;
        }
        let bytes = buffer[..length].to_vec();
        // A full queue has more important things in it.
        if let Err(mpsc::error::TrySendError::Closed(_)) =
            inputs.try_send(Input::NativeCheck { from, bytes })
        {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn takes_what_has_the_length_of_a_check_and_shares_no_port() {
        let (inputs, mut received) = mpsc::channel(4);
        // Some port that is free for both.
        let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let sockets = NativeSockets::open(port - 2, &inputs);
        assert!(sockets.any());
        let to: SocketAddr = (Ipv4Addr::LOCALHOST, port).into();
        // What is sent before the runtime has looked at a socket is lost.
        sockets.v4.as_ref().unwrap().writable().await.unwrap();
        for length in [1, NATIVE_CHECK_BYTES + 1, NATIVE_CHECK_BYTES] {
            sockets.send(to, &vec![7; length]);
        }
        let Some(Input::NativeCheck { from, bytes }) = received.recv().await else {
            panic!("no check");
        };
        assert_eq!((from, bytes), (to, vec![7; NATIVE_CHECK_BYTES]));
        assert!(received.try_recv().is_err());
        assert!(NativeSockets::open(port - 2, &inputs).v4.is_none());
        assert!(!NativeSockets::open(u16::MAX, &inputs).any());
    }
}
