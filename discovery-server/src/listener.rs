//! Listener: accepts connections, bounds them, does TLS and serves HTTP on each until it ends or the
//! server stops. Plain connections speak HTTP/1.1, TLS ones what was agreed on.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::callers::is_proxy;
use crate::http::Caller;
use crate::limits::{
    HEADER_TIMEOUT, MAX_HEADER_BYTES, MAX_HEADER_FIELDS, MAX_STREAMS, SEND_TIMEOUT, TLS_TIMEOUT,
};
use crate::rate::source_of;
use crate::shared::{Shared, lock};
use crate::tls::Tls;

/// Connections the kernel holds until they are accepted.
const BACKLOG: i32 = 4096;
/// Pause after a failed accept, so that running out of descriptors is no busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Binds `address`; `[::]` takes IPv4 too.
///
/// # Errors
/// What the system says, for example that the port is in use.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Linux gives each accepted connection what its listener has: no calls for every one of them.
    tune(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts until the server stops. Connections run on in `connections`.
pub async fn run(
    shared: Arc<Shared>,
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    connections: TaskTracker,
) {
    let open = Arc::new(Open::default());
    let router = crate::http::router(Arc::clone(&shared));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.stop.cancelled() => return,
        };
        let (stream, caller) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "a connection could not be accepted");
                shared.metrics.rejected("accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = Open::enter(&open, &shared, caller.ip()) else {
            shared.metrics.rejected("connections");
            continue;
        };
        let connection = Connection {
            shared: Arc::clone(&shared),
            router: router.clone(),
            caller,
            place,
        };
        connections.spawn(connection.run(stream, tls.as_ref().map(|tls| tls.acceptor())));
    }
}

/// One accepted connection.
struct Connection {
    shared: Arc<Shared>,
    router: Router,
    caller: SocketAddr,
    place: Place,
}

impl Connection {
    async fn run(self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        let Some(tls) = tls else {
            return self.serve(stream, false).await;
        };
        match tokio::time::timeout(TLS_TIMEOUT, tls.accept(stream)).await {
            Ok(Ok(stream)) => {
                let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                self.serve(stream, is_h2).await;
            }
            Ok(Err(_)) | Err(_) => self.shared.metrics.rejected("tls"),
        }
    }

    async fn serve(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        is_h2: bool,
    ) {
        let Self {
            shared,
            router,
            caller,
            place,
        } = self;
        let service = router.map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Caller(caller));
            request.map(axum::body::Body::new)
        });
        let builder = builder(is_h2);
        let io = TokioIo::new(stream);
        let mut serving =
            std::pin::pin!(builder.serve_connection(io, TowerToHyperService::new(service)));
        tokio::select! {
            // How a connection ends is the caller's affair.
            _ = serving.as_mut() => {}
            () = shared.stop.cancelled() => {
                serving.as_mut().graceful_shutdown();
                let _ = serving.await;
            }
        }
        drop(place);
    }
}

/// One protocol only, never a guess from the first bytes: that guess has no timeout.
fn builder(is_h2: bool) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADER_FIELDS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(SEND_TIMEOUT)
        .keep_alive_timeout(SEND_TIMEOUT)
        .max_header_list_size(MAX_HEADER_BYTES as u32)
        .max_concurrent_streams(MAX_STREAMS);
    if is_h2 {
        builder.http2_only()
    } else {
        builder.http1_only()
    }
}

fn tune(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    // Also ends connections whose far end acknowledges but never reads (RFC 5482).
    socket.set_tcp_user_timeout(Some(SEND_TIMEOUT))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(SEND_TIMEOUT))
}

/// Open connections by source.
#[derive(Debug, Default)]
struct Open {
    by_source: Mutex<(usize, HashMap<IpAddr, usize>)>,
}

/// One connection's place; given back when dropped.
struct Place {
    open: Arc<Open>,
    shared: Arc<Shared>,
    source: IpAddr,
}

impl Open {
    fn enter(open: &Arc<Self>, shared: &Arc<Shared>, caller: IpAddr) -> Option<Place> {
        let source = source_of(caller);
        let limits = &shared.limits;
        // A proxy stands for many; what comes through it is limited by request.
        let per_source = if is_proxy(&shared.trusted_proxies, caller) {
            limits.connections
        } else {
            limits.connections_per_source
        };
        let mut guard = lock(&open.by_source);
        let (total, by_source) = &mut *guard;
        let of_source = by_source.get(&source).copied().unwrap_or(0);
        if *total >= limits.connections || of_source >= per_source {
            return None;
        }
        *total += 1;
        by_source.insert(source, of_source + 1);
        shared.metrics.connections(*total);
        Some(Place {
            open: Arc::clone(open),
            shared: Arc::clone(shared),
            source,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut guard = lock(&self.open.by_source);
        let (total, by_source) = &mut *guard;
        *total -= 1;
        self.shared.metrics.connections(*total);
        if let Some(of_source) = by_source.get_mut(&self.source) {
            *of_source -= 1;
            if *of_source == 0 {
                by_source.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;

    use super::*;

    #[tokio::test]
    async fn accepted_connections_are_tuned_as_their_listener() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = bind(address.parse().unwrap()) else {
                eprintln!("skipped: no {address} here");
                continue;
            };
            let client = TcpStream::connect(listener.local_addr().unwrap()).await;
            let (accepted, _) = listener.accept().await.unwrap();
            drop(client);
            let socket = SockRef::from(&accepted);
            assert!(socket.tcp_nodelay().unwrap());
            assert!(socket.keepalive().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap(), SEND_TIMEOUT);
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(SEND_TIMEOUT));
        }
    }
}
