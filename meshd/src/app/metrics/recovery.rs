//! Metrics of recovery: what it did since the start, and what it knows of each peer's path in use.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use mesh_proto::control::{Path, PathState, Peer, PeerState};
use meshd_core::recovery_counters::SILENCE_BOUNDS_MS;
use meshd_core::{Mesh, Now, RecoveryCounters};
use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{Labels, label};

type Float = Gauge<f64, AtomicU64>;

/// Counters of the own record on its way through tunnels.
pub(super) fn register_records(registry: &mut Registry, counters: &RecoveryCounters) {
    for (name, help, value) in [
        (
            "record_fragments_sent",
            "Pieces of the own record sent to peers through their tunnels",
            counters.fragments_sent,
        ),
        (
            "record_fragments_withheld",
            "Pieces not sent because the common budget was used up",
            counters.fragments_withheld,
        ),
        (
            "tunnel_envelopes_refused",
            "Records from tunnels that were not the peer's own or not valid",
            counters.envelopes_refused,
        ),
    ] {
        let counter: Counter = Counter::default();
        counter.inc_by(value);
        registry.register(name, help, counter);
    }
}

/// Counters and the histogram of silences.
pub(super) fn register(registry: &mut Registry, counters: &RecoveryCounters) {
    let switches = Family::<Labels, Counter>::default();
    for (reason, value) in [
        ("silent", counters.switches_silent),
        ("asked", counters.switches_asked),
        ("local", counters.switches_local),
        ("better", counters.switches_better),
        ("other", counters.switches_other),
    ] {
        switches
            .get_or_create(&label("reason", reason))
            .inc_by(value);
    }
    registry.register("path_switches", "Path switches, by reason", switches);
    for (name, help, value) in [
        (
            "path_suspicions",
            "Times a path in use became suspect",
            counters.suspicions,
        ),
        (
            "path_false_alarms",
            "Suspicions that the path in use cleared by an answer",
            counters.false_alarms,
        ),
        (
            "sessions_suspected",
            "Times no path answered and the session itself was suspected to be lost",
            counters.sessions_suspected,
        ),
        (
            "handshake_initiations",
            "Handshake initiations asked of the engine",
            counters.initiations,
        ),
        (
            "rehandshakes",
            "Handshakes completed with a peer that was up, rekeys included",
            counters.rehandshakes,
        ),
        ("pings_sent", "Pings sent", counters.pings_sent),
        (
            "pings_withheld",
            "Pings not sent because the common budget was used up",
            counters.pings_withheld,
        ),
        (
            "pongs_sent",
            "Answers sent to pings of others",
            counters.pongs_sent,
        ),
    ] {
        let counter: Counter = Counter::default();
        counter.inc_by(value);
        registry.register(name, help, counter);
    }
    registry.register(
        "path_silence_seconds",
        "How long the old path had been silent at switches for silence",
        Silences(counters.silences, counters.silence_sum),
    );
}

/// What the core counted, as a histogram: Prometheus wants each class with all below it.
#[derive(Debug)]
struct Silences([u64; SILENCE_BOUNDS_MS.len() + 1], std::time::Duration);

impl EncodeMetric for Silences {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let seconds =
            SILENCE_BOUNDS_MS.map(|ms| std::time::Duration::from_millis(ms).as_secs_f64());
        let bounds = seconds.into_iter().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(self.0).collect();
        let count = self.0.iter().sum();
        encoder.encode_histogram::<Labels>(self.1.as_secs_f64(), count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// State, round trip and loss of the path in use of these peers.
pub(super) fn register_paths(registry: &mut Registry, mesh: &Mesh, peers: &[Peer], now: Now) {
    let up = Family::<Labels, Gauge>::default();
    let suspect = Family::<Labels, Gauge>::default();
    let rtt = Family::<Labels, Float>::default();
    let loss = Family::<Labels, Float>::default();
    let states = Family::<Labels, Gauge>::default();
    for state in PathState::ALL {
        // There from the first scrape on, with a zero.
        drop(states.get_or_create(&label("state", state.to_string())));
    }
    let every = mesh.every_path(now);
    for path in every.iter().flat_map(|peer| &peer.paths) {
        states
            .get_or_create(&label("state", path.state.to_string()))
            .inc();
    }
    let in_use: BTreeMap<&str, &Path> = every
        .iter()
        .filter_map(|peer| {
            Some((
                peer.name.as_str(),
                peer.paths.iter().find(|path| path.in_use)?,
            ))
        })
        .collect();
    for peer in peers {
        let labels = label("peer", &peer.name);
        let is = |state| i64::from(peer.state == state);
        up.get_or_create(&labels)
            .set(is(PeerState::Up).max(is(PeerState::Suspect)));
        suspect.get_or_create(&labels).set(is(PeerState::Suspect));
        if let Some(ms) = peer.rtt_ms {
            rtt.get_or_create(&labels).set(ms / 1000.0);
        }
        let in_use = in_use.get(peer.name.as_str());
        if let Some(percent) = in_use.and_then(|path| path.loss_percent) {
            loss.get_or_create(&labels).set(f64::from(percent) / 100.0);
        }
    }
    registry.register("paths", "Candidate paths of all peers, by state", states);
    registry.register("peer_up", "1 while the tunnel is up or suspect", up);
    registry.register(
        "peer_suspect",
        "1 while the path in use is in doubt",
        suspect,
    );
    registry.register(
        "peer_rtt_seconds",
        "Smoothed round trip of the path in use; absent while unknown",
        rtt,
    );
    registry.register(
        "peer_loss_ratio",
        "Share of lost pings on the path in use; absent while unknown",
        loss,
    );
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn counters_and_the_histogram_are_exposed() {
        let counters = RecoveryCounters {
            switches_silent: 3,
            suspicions: 4,
            false_alarms: 1,
            silences: [1, 0, 1, 0, 0, 0, 1],
            silence_sum: Duration::from_millis(6500),
            ..RecoveryCounters::default()
        };
        let mut registry = Registry::with_prefix("meshd");
        register(&mut registry, &counters);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "meshd_path_switches_total{reason=\"silent\"} 3",
            "meshd_path_suspicions_total 4",
            "meshd_path_false_alarms_total 1",
            "meshd_path_silence_seconds_sum 6.5",
            "meshd_path_silence_seconds_count 3",
            "meshd_path_silence_seconds_bucket{le=\"0.1\"} 1",
            "meshd_path_silence_seconds_bucket{le=\"0.4\"} 2",
            "meshd_path_silence_seconds_bucket{le=\"+Inf\"} 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }
}
