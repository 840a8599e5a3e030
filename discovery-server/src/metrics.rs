//! Metrics: counters of the server in OpenMetrics text. Names no cluster, member or address.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry as Names;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: &'static str,
}

fn request_buckets() -> Histogram {
    Histogram::new([0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0])
}

/// The server's counters.
#[derive(Debug)]
pub struct Metrics {
    names: Names,
    requests: Family<Request, Counter>,
    rejects: Family<Reason, Counter>,
    request_seconds: Family<Route, Histogram, fn() -> Histogram>,
    pushed_lines: Counter,
    pushed_bytes: Counter,
    connections: Gauge,
    clusters: Gauge,
    members: Gauge,
    bytes: Gauge,
    watchers: Gauge,
    commits: Counter,
    commit_errors: Counter,
    commit_writes: Counter,
    commit_seconds: Histogram,
    stun: Family<Reason, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            names: Names::default(),
            requests: Family::default(),
            rejects: Family::default(),
            request_seconds: Family::new_with_constructor(request_buckets),
            pushed_lines: Counter::default(),
            pushed_bytes: Counter::default(),
            connections: Gauge::default(),
            clusters: Gauge::default(),
            members: Gauge::default(),
            bytes: Gauge::default(),
            watchers: Gauge::default(),
            commits: Counter::default(),
            commit_errors: Counter::default(),
            commit_writes: Counter::default(),
            commit_seconds: Histogram::new([0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0]),
            stun: Family::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let names = self.names.sub_registry_with_prefix("discovery");
        names.register(
            "requests",
            "Requests by route and status",
            self.requests.clone(),
        );
        names.register(
            "rejects",
            "What was refused, by reason",
            self.rejects.clone(),
        );
        names.register(
            "request_seconds",
            "Time to the beginning of an answer, by route",
            self.request_seconds.clone(),
        );
        names.register(
            "pushed_lines",
            "Lines sent to watchers, snapshots included",
            self.pushed_lines.clone(),
        );
        names.register(
            "pushed_bytes",
            "Bytes of those lines",
            self.pushed_bytes.clone(),
        );
        names.register("connections", "Open connections", self.connections.clone());
        self.register_sizes();
    }

    fn register_sizes(&mut self) {
        let names = self.names.sub_registry_with_prefix("discovery");
        names.register("clusters", "Clusters held", self.clusters.clone());
        names.register(
            "members",
            "Members held, leaves included",
            self.members.clone(),
        );
        names.register(
            "stored_bytes",
            "Bytes of envelopes and reports",
            self.bytes.clone(),
        );
        names.register("watchers", "Open watch streams", self.watchers.clone());
        names.register("commits", "Transactions committed", self.commits.clone());
        names.register(
            "commit_errors",
            "Transactions that failed",
            self.commit_errors.clone(),
        );
        names.register(
            "commit_writes",
            "Rows in committed transactions",
            self.commit_writes.clone(),
        );
        names.register(
            "commit_seconds",
            "Duration of a commit",
            self.commit_seconds.clone(),
        );
        names.register(
            "stun_requests",
            "STUN datagrams by what became of them",
            self.stun.clone(),
        );
        let build: Gauge<i64, std::sync::atomic::AtomicI64> = Gauge::default();
        build.set(1);
        let version = [("version".into(), env!("CARGO_PKG_VERSION").into())];
        self.names
            .sub_registry_with_labels(version.into_iter())
            .register("discovery_build", "Version of this build", build);
    }

    /// Counts an answered request.
    pub fn answered(&self, route: &'static str, status: u16, took: Duration) {
        let seconds = self.request_seconds.get_or_create(&Route { route });
        seconds.observe(took.as_secs_f64());
        drop(seconds);
        self.requests
            .get_or_create(&Request { route, status })
            .inc();
    }

    /// Counts what a watcher is sent.
    pub fn pushed(&self, lines: usize, bytes: usize) {
        self.pushed_lines.inc_by(lines as u64);
        self.pushed_bytes.inc_by(bytes as u64);
    }

    /// Counts a refusal.
    pub fn rejected(&self, reason: &'static str) {
        self.rejects.get_or_create(&Reason { reason }).inc();
    }

    /// Counts a transaction.
    pub fn committed(&self, worked: bool, writes: usize, took: Duration) {
        if worked {
            self.commits.inc();
            self.commit_writes.inc_by(writes as u64);
        } else {
            self.commit_errors.inc();
        }
        self.commit_seconds.observe(took.as_secs_f64());
    }

    /// Counts a STUN datagram.
    pub fn stun(&self, outcome: &'static str) {
        self.stun.get_or_create(&Reason { reason: outcome }).inc();
    }

    /// Notes the open connections.
    pub fn connections(&self, open: usize) {
        self.connections.set(open as i64);
    }

    /// The text of `/metrics`, with the present sizes.
    #[must_use]
    pub fn encode(
        &self,
        (clusters, members, bytes): (usize, usize, usize),
        watchers: usize,
    ) -> String {
        self.clusters.set(clusters as i64);
        self.members.set(members as i64);
        self.bytes.set(bytes as i64);
        self.watchers.set(watchers as i64);
        let mut out = String::new();
        // Writing to a String does not fail.
        let _ = text::encode(&mut out, &self.names);
        out
    }
}
