//! STUN: tells whoever asks by UDP which address the question came from (RFC 8489 Binding). Answers
//! from the address it was asked at, which a host with several addresses must do itself.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mesh_proto::stun::{decode_request, encode_response};
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::limits::MAX_RATE_SOURCES;
use crate::rate::{RateLimiter, source_of};
use crate::shared::Shared;

/// Room for a request with attributes; longer datagrams are cut and then refused.
const MAX_REQUEST_BYTES: usize = 1024;

/// The socket STUN is answered on.
#[derive(Debug)]
pub struct StunSocket {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl StunSocket {
    /// Binds `address`; `[::]` takes IPv4 too.
    ///
    /// # Errors
    /// What the system says, for example that the port is in use.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::DGRAM,
            Some(Protocol::UDP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        Ok(Self {
            socket: UdpSocket::from_std(socket.into())?,
            state,
        })
    }

    /// Where it is bound.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Answers until the server stops.
    pub async fn run(self, shared: Arc<Shared>) {
        let mut limiter = RateLimiter::new(shared.limits.stun_per_source, MAX_RATE_SOURCES);
        let mut buffer = [0; MAX_REQUEST_BYTES];
        loop {
            let received = tokio::select! {
                received = self.receive(&mut buffer) => received,
                () = shared.stop.cancelled() => return,
            };
            let outcome = match received {
                Ok(meta) => self.answer(&shared, &mut limiter, &buffer, meta),
                // Errors of earlier answers (ICMP) come back here; they concern nobody else.
                Err(_) => "error",
            };
            shared.metrics.stun(outcome);
        }
    }

    async fn receive(&self, buffer: &mut [u8]) -> io::Result<RecvMeta> {
        let mut meta = [RecvMeta::default()];
        self.socket
            .async_io(Interest::READABLE, || {
                let mut buffers = [IoSliceMut::new(&mut *buffer)];
                self.state
                    .recv(UdpSockRef::from(&self.socket), &mut buffers, &mut meta)
            })
            .await?;
        let [meta] = meta;
        Ok(meta)
    }

    /// Answers what was received; several datagrams of one sender may have been joined by the kernel.
    fn answer(
        &self,
        shared: &Shared,
        limiter: &mut RateLimiter<IpAddr>,
        buffer: &[u8],
        meta: RecvMeta,
    ) -> &'static str {
        let mut outcome = "malformed";
        let received = buffer.get(..meta.len).unwrap_or_default();
        for datagram in received.chunks(meta.stride.max(1)) {
            let now_ms = shared.clock.now().mono_ms;
            if limiter.take(source_of(meta.addr.ip()), now_ms).is_err() {
                return "limited";
            }
            let Some(id) = decode_request(datagram) else {
                continue;
            };
            let seen = SocketAddr::new(meta.addr.ip().to_canonical(), meta.addr.port());
            let transmit = Transmit {
                destination: meta.addr,
                ecn: None,
                contents: &encode_response(id, seen),
                segment_size: None,
                src_ip: meta.dst_ip,
            };
            let sent = self.socket.try_io(Interest::WRITABLE, || {
                self.state
                    .try_send(UdpSockRef::from(&self.socket), &transmit)
            });
            outcome = if sent.is_ok() { "answered" } else { "unsent" };
        }
        outcome
    }
}
