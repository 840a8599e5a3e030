//! Prometheus metrics of the daemon. Gauges are read from the mesh when somebody asks; only events are
//! counted as they happen. Label values are bounded: states, event kinds, drop reasons, and the names of
//! at most [`MAX_PEERS`] peers. What each means is in `docs/metrics.md`.

mod network;
mod recovery;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use mesh_proto::control::PeerState;
use meshd_core::{Event, Mesh, Now};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot};

use crate::bounded::BoundedListener;
use crate::engine::Engine;
use crate::linux::ReconcileCounters;

/// Content type of the exposition format.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Connections of scrapers at once; others wait.
const MAX_CONNECTIONS: usize = 32;

/// Peers with metrics of their own, in the order `meshctl peers` lists them: more would make a scrape of
/// every node of a large mesh a burden. `meshd_peers_without_metrics` counts the others.
const MAX_PEERS: usize = 256;

/// A scrape: the answer is the exposition text.
pub(super) type MetricsRequest = oneshot::Sender<String>;

/// The daemon's metrics.
#[derive(Debug)]
pub(super) struct Metrics {
    events: Family<Labels, Counter>,
    reconcile: Arc<ReconcileCounters>,
}

type Labels = Vec<(String, String)>;

fn label(name: &str, value: impl Into<String>) -> Labels {
    vec![(name.to_owned(), value.into())]
}

impl Metrics {
    /// No event so far. `reconcile` is counted by who reconciles.
    pub(super) fn new(reconcile: Arc<ReconcileCounters>) -> Self {
        Self {
            events: Family::default(),
            reconcile,
        }
    }

    /// Counts an event by its kind.
    pub(super) fn count(&self, event: &Event) {
        self.events.get_or_create(&label("kind", event.kind)).inc();
    }

    /// Answers a scrape.
    pub(super) fn answer(&self, request: MetricsRequest, mesh: &Mesh, engine: &Engine, now: Now) {
        let mut registry = Registry::with_prefix("meshd");
        let build = Info::new(label("version", env!("CARGO_PKG_VERSION")));
        registry.register("build", "Build of the daemon", build);
        registry.register("events", "What happened, by kind", self.events.clone());
        network::register(&mut registry, &self.reconcile);
        register_mesh(&mut registry, mesh, now);
        register_engine(&mut registry, engine);
        let mut text = String::new();
        if encode(&mut text, &registry).is_ok() {
            // A scraper that hung up does not want the answer.
            let _ = request.send(text);
        }
    }
}

fn register_mesh(registry: &mut Registry, mesh: &Mesh, now: Now) {
    let (status, peers) = (mesh.status(now), mesh.peers(now).peers);
    let members: Gauge = Gauge::default();
    members.set(count(status.members));
    registry.register("members", "Members known, this node not counted", members);
    let problems: Gauge = Gauge::default();
    problems.set(count(status.problems.len()));
    registry.register("problems", "Problems `meshctl status` names", problems);
    let codes = Family::<Labels, Gauge>::default();
    for problem in &status.problems {
        codes.get_or_create(&label("code", &problem.code)).inc();
    }
    registry.register("problem", "Problems by code; absent without any", codes);

    let connected = Family::<Labels, Gauge>::default();
    for server in &status.discovery {
        connected
            .get_or_create(&label("server", &server.url))
            .set(i64::from(server.connected));
    }
    registry.register(
        "discovery_connected",
        "1 while the watch stream is live",
        connected,
    );

    let states = Family::<Labels, Gauge>::default();
    for (state, name) in [
        (PeerState::Up, "up"),
        (PeerState::Suspect, "suspect"),
        (PeerState::Connecting, "connecting"),
        (PeerState::Down, "down"),
    ] {
        let in_state = peers.iter().filter(|peer| peer.state == state).count();
        states
            .get_or_create(&label("state", name))
            .set(count(in_state));
    }
    registry.register("peers", "Tunnels by state", states);

    let (shown, hidden) = peers.split_at(peers.len().min(MAX_PEERS));
    let without: Gauge = Gauge::default();
    without.set(count(hidden.len()));
    registry.register(
        "peers_without_metrics",
        "Peers beyond the bound on metrics of single peers",
        without,
    );
    let received = Family::<Labels, Counter>::default();
    let sent = Family::<Labels, Counter>::default();
    for peer in shown {
        received
            .get_or_create(&label("peer", &peer.name))
            .inc_by(peer.rx_bytes);
        sent.get_or_create(&label("peer", &peer.name))
            .inc_by(peer.tx_bytes);
    }
    registry.register("peer_rx_bytes", "Bytes received from a peer", received);
    registry.register("peer_tx_bytes", "Bytes sent to a peer", sent);
    recovery::register(registry, &mesh.recovery_counters());
    recovery::register_records(registry, &mesh.recovery_counters());
    recovery::register_paths(registry, mesh, shown, now);
}

fn register_engine(registry: &mut Registry, engine: &Engine) {
    let dropped = Family::<Labels, Counter>::default();
    let packets = Family::<Labels, Counter>::default();
    let netlink = Family::<Labels, Counter>::default();
    for (name, value) in engine.counters().snapshot().entries() {
        if let Some(kind) = name.strip_prefix("netlink_") {
            let messages = netlink.get_or_create(&label("kind", kind));
            messages.inc_by(value);
            continue;
        }
        match name.strip_prefix("drop_") {
            Some(reason) => dropped
                .get_or_create(&label("reason", reason))
                .inc_by(value),
            None => packets.get_or_create(&label("kind", name)).inc_by(value),
        };
    }
    registry.register(
        "netlink_messages",
        "Messages to WireGuard in the kernel, by kind",
        netlink,
    );
    registry.register("dropped_packets", "Packets thrown away, by reason", dropped);
    registry.register("engine_packets", "What passed the engine, by kind", packets);
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Serves `/metrics` on `address` until the runtime ends.
///
/// # Errors
/// If the address cannot be bound.
pub(super) async fn serve(
    address: SocketAddr,
    requests: mpsc::Sender<MetricsRequest>,
) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind(address).await?;
    let listener = BoundedListener::new(listener, MAX_CONNECTIONS);
    let router = Router::new()
        .route("/metrics", get(scrape))
        .with_state(requests);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "metrics server ended");
        }
    });
    Ok(())
}

async fn scrape(State(requests): State<mpsc::Sender<MetricsRequest>>) -> Response {
    let (reply, answer) = oneshot::channel();
    if requests.send(reply).await.is_err() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    answer.await.map_or_else(
        |_| StatusCode::SERVICE_UNAVAILABLE.into_response(),
        |text| ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
    )
}
