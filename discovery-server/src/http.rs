//! The HTTP API of `docs/discovery-api.md`: routes, and what is done around every one of them.

mod answer;
mod health;
mod members;
mod signed;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use crate::callers::caller_of;
use crate::rate::source_of;
use crate::shared::{Shared, lock};
use answer::ApiError;

/// The caller's address: of the connection at first, put into each request by the listener; behind a
/// trusted proxy the one it names.
#[derive(Debug, Clone, Copy)]
pub struct Caller(pub SocketAddr);

/// The API over `shared`.
pub fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(health::landing))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .route("/v1/info", get(health::info))
        .route("/v1/clusters/{cluster}/members", get(members::list))
        .route("/v1/clusters/{cluster}/watch", get(watch::watch))
        .route(
            "/v1/clusters/{cluster}/members/{member}",
            get(members::get_record).put(members::put_record),
        )
        .route(
            "/v1/clusters/{cluster}/members/{member}/report",
            get(members::get_report).put(members::put_report),
        )
        .fallback(async || ApiError::not_found("there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            ApiError::bad_request("this path knows GET, some PUT")
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), admit))
        .with_state(shared)
}

/// Applies the rate of the source before anything costs, and counts.
async fn admit(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let route = route_name(request.uri().path());
    let peer = request.extensions().get::<Caller>().copied();
    let caller = peer.map(|Caller(peer)| {
        let caller = caller_of(&shared.trusted_proxies, peer, request.headers());
        // Handlers see the caller, not the proxy.
        request.extensions_mut().insert(Caller((caller, 0).into()));
        caller
    });
    let source = caller.map(source_of);
    // Probes of an orchestrator must not depend on what else comes from its address.
    let limited = !matches!(route, "healthz" | "readyz");
    let admitted = match source.filter(|_| limited) {
        Some(source) => lock(&shared.by_source).take(source, shared.clock.now().mono_ms),
        None => Ok(()),
    };
    let response = match admitted {
        Ok(()) => next.run(request).await,
        Err(wait_s) => {
            ApiError::limited("source_rate", "too many requests from this address", wait_s)
                .into_response()
        }
    };
    let status = response.status().as_u16();
    shared.metrics.answered(route, status, began.elapsed());
    if let Some(ApiError { reason, .. }) = response
        .extensions()
        .get::<Arc<ApiError>>()
        .map(AsRef::as_ref)
    {
        shared.metrics.rejected(reason);
    }
    response
}

/// A label of bounded variety: never the path itself.
fn route_name(path: &str) -> &'static str {
    match path {
        "/" => "landing",
        "/healthz" => "healthz",
        "/readyz" => "readyz",
        "/metrics" => "metrics",
        "/v1/info" => "info",
        _ if !path.starts_with("/v1/clusters/") => "unknown",
        _ if path.ends_with("/watch") => "watch",
        _ if path.ends_with("/report") => "report",
        _ if path.ends_with("/members") => "members",
        _ => "member",
    }
}
