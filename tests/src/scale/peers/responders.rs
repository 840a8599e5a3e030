//! Many stock WireGuard peers in one thread: each has a port, a key and boringtun's sessions, and answers what it
//! is sent. They measure nothing.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519::{PublicKey, StaticSecret};
use mesh_proto::WgPublicKey;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::lab::LabError;
use crate::lab::namespace::Namespace;
use crate::recovery::stream::bind;

/// Port of the first peer; the others follow.
pub(super) const FIRST_PORT: u16 = 20_000;
/// How often it is looked whether to stop, milliseconds.
const TICK_MS: u8 = 50;
/// Sockets served at a time.
const BATCH: usize = 64;

/// The thread; ends when dropped.
#[derive(Debug)]
pub(super) struct Responders {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Responder {
    socket: UdpSocket,
    sessions: Tunn,
}

/// Keys follow from the number: they protect nothing here. X25519 clears bits of the first byte.
fn secret(number: u16) -> StaticSecret {
    let mut bytes = [0x5a; 32];
    bytes[1..3].copy_from_slice(&number.to_be_bytes());
    StaticSecret::from(bytes)
}

/// The key of a peer.
pub(super) fn public_key(number: u16) -> WgPublicKey {
    WgPublicKey(PublicKey::from(&secret(number)).to_bytes())
}

impl Responders {
    /// Opens a socket for each peer on a machine's `address`; the peers know the daemon's key.
    pub(super) fn start(
        machine: &Namespace,
        address: Ipv4Addr,
        daemon: WgPublicKey,
        count: u16,
    ) -> Result<Self, LabError> {
        let epoll =
            Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(LabError::io("make an epoll"))?;
        let mut all = Vec::with_capacity(usize::from(count));
        for number in 0..count {
            let socket = bind(
                machine.entry(),
                SocketAddrV4::new(address, FIRST_PORT + number),
            )?;
            let nonblocking = socket.set_nonblocking(true);
            nonblocking.map_err(LabError::io("make a socket non-blocking"))?;
            let event = EpollEvent::new(EpollFlags::EPOLLIN, u64::from(number));
            let added = epoll.add(socket.as_fd(), event);
            added.map_err(LabError::io("watch a socket"))?;
            let daemon = PublicKey::from(daemon.0);
            let sessions = Tunn::new(secret(number), daemon, None, None, number.into(), None);
            all.push(Responder { socket, sessions });
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || serve(&epoll, &mut all, &stopped));
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Responders {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(epoll: &Epoll, all: &mut [Responder], stop: &AtomicBool) {
    let mut events = [EpollEvent::empty(); BATCH];
    while !stop.load(Ordering::Relaxed) {
        // An interrupted wait is only a shorter one.
        let ready = epoll
            .wait(&mut events, EpollTimeout::from(TICK_MS))
            .unwrap_or(0);
        for event in &events[..ready] {
            let number = usize::try_from(event.data()).unwrap_or(usize::MAX);
            if let Some(responder) = all.get_mut(number) {
                responder.answer();
            }
        }
    }
}

impl Responder {
    fn answer(&mut self) {
        let (mut datagram, mut output) = ([0; 2048], [0; 2048]);
        while let Ok((length, from)) = self.socket.recv_from(&mut datagram) {
            let taken =
                self.sessions
                    .decapsulate(Some(from.ip()), &datagram[..length], &mut output);
            if let TunnResult::WriteToNetwork(answer) = taken {
                // Lost answers are asked for again.
                let _ = self.socket.send_to(answer, from);
            }
        }
    }
}
