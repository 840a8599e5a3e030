//! Unsigned answers: information to sign with, health, metrics and a line for the curious.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{Html, IntoResponse, Response};
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
        nonce: shared.nonces.make(shared.nonce_ms()),
        stun_port: shared.stun.map(|stun| stun.port),
        stun_address: shared.stun.and_then(|stun| stun.address),
        your_address: caller.ip().to_canonical(),
        time_ms: now.wall_ms,
        lease_s: shared.lease_ms.div_ceil(1000),
    })
}

/// A page for people: health and counts; no ids, addresses or names.
pub(super) async fn landing(State(shared): State<Arc<Shared>>) -> Html<String> {
    let (clusters, members, bytes) = shared.registry().sizes();
    let state = match readiness(&shared) {
        Ok(()) => "ready",
        Err(reason) => reason,
    };
    let minutes = shared.clock.now().mono_ms / 60_000;
    let rows = [
        ("state", state.to_owned()),
        ("up", format!("{} h {} min", minutes / 60, minutes % 60)),
        ("clusters", clusters.to_string()),
        ("members", members.to_string()),
        ("watchers", shared.watchers.count().to_string()),
        ("stored", format!("{} KiB", bytes / 1024)),
    ];
    let rows = rows.map(|(name, value)| format!("<tr><td>{name}<td>{value}\n"));
    let (version, rows) = (env!("CARGO_PKG_VERSION"), rows.concat());
    Html(format!(
        "<!doctype html><title>mesh discovery server</title>\n<h1>mesh discovery server {version}</h1>\n\
         <p>It keeps sealed records it cannot read.\n<table>\n{rows}</table>\n"
    ))
}

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

pub(super) async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    match readiness(&shared) {
        Ok(()) => "ready\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

fn readiness(shared: &Shared) -> Result<(), &'static str> {
    if shared.stop.is_cancelled() {
        Err("stopping")
    } else if !shared.ready.load(Ordering::Relaxed) {
        Err("the store cannot be written")
    } else {
        Ok(())
    }
}

pub(super) async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let sizes = shared.registry().sizes();
    let text = shared.metrics.encode(sizes, shared.watchers.count());
    ([(CONTENT_TYPE, METRICS_CONTENT_TYPE)], text).into_response()
}
