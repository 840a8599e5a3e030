//! The control API over TCP, for reading only, to whoever knows a token. Meant for the mesh address, where
//! every packet is encrypted and its sender known; nothing here encrypts.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use socket2::{Domain, Protocol, Socket, Type};
use subtle::ConstantTimeEq as _;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::Refusal;
use super::routes::refuse;
use crate::bounded::BoundedListener;

/// Connections at once; further ones wait. Those of the control socket are counted apart.
pub const MAX_REMOTE_CONNECTIONS: usize = 16;
/// Connections the kernel holds for us.
const BACKLOG: i32 = 16;

/// What a reader must know. Never printed.
pub type Token = Arc<Zeroizing<String>>;

/// Binds `address`, which this machine may get later: the mesh address exists only with the interface.
///
/// # Errors
/// What the kernel says, `EADDRINUSE` above all.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_freebind_v6(true)?;
    } else {
        socket.set_freebind_v4(true)?;
    }
    // A restart must not wait for connections of the process before.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Answers `router` to who knows `token`, from a task of its own, until `stopped`.
///
/// # Errors
/// If the listener cannot be handed to the runtime.
pub(super) fn serve(
    listener: std::net::TcpListener,
    router: Router,
    token: Token,
    stopped: CancellationToken,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let listener = BoundedListener::new(listener, MAX_REMOTE_CONNECTIONS);
    let router = router.layer(middleware::from_fn_with_state(token, check));
    tokio::spawn(async move {
        let serving = axum::serve(listener, router)
            .with_graceful_shutdown(async move { stopped.cancelled().await });
        if let Err(error) = serving.await {
            tracing::error!(%error, "remote control server ended");
        }
    });
    Ok(())
}

async fn check(State(token): State<Token>, request: Request, next: Next) -> Response {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .unwrap_or_default();
    // The time this takes tells a guesser no more than the token's length.
    if bool::from(given.as_bytes().ct_eq(token.as_bytes())) {
        return next.run(request).await;
    }
    let refusal = Refusal {
        status: StatusCode::UNAUTHORIZED.as_u16(),
        message: "the token is missing or not that of this node's `remote.tokenFile`".to_owned(),
    };
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
    (challenge, refuse(&refusal)).into_response()
}
