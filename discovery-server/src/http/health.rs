//! Unsigned answers: information to sign with, health, metrics and a line for the curious.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use mesh_proto::discovery::Info;

use super::Caller;
use crate::shared::Shared;

const METRICS_CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) async fn info(
    State(shared): State<Arc<Shared>>,
    Extension(Caller(caller)): Extension<Caller>,
) -> Json<Info> {
    let now = shared.clock.now();
    Json(Info {
        server: shared.server,
        epoch: shared.registry().epoch(),
        nonce: shared.nonces.make(now.mono_ms),
        stun_port: shared.stun.map(|stun| stun.port),
        stun_address: shared.stun.and_then(|stun| stun.address),
        your_address: caller.ip().to_canonical(),
        time_ms: now.wall_ms,
        lease_s: shared.lease_ms.div_ceil(1000),
    })
}

pub(super) async fn landing() -> &'static str {
    concat!(
        "mesh discovery server ",
        env!("CARGO_PKG_VERSION"),
        "\nIt keeps sealed records it cannot read. Nothing is to be seen here.\n"
    )
}

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

pub(super) async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    if shared.stop.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    if shared.ready.load(Ordering::Relaxed) {
        return "ready\n".into_response();
    }
    (
        StatusCode::SERVICE_UNAVAILABLE,
        "the store cannot be written\n",
    )
        .into_response()
}

pub(super) async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let sizes = shared.registry().sizes();
    let text = shared.metrics.encode(sizes, shared.watchers.count());
    ([(CONTENT_TYPE, METRICS_CONTENT_TYPE)], text).into_response()
}
