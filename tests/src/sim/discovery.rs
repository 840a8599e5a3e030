//! Discovery servers: the real registry as pure state, without HTTP and store. What a watcher reads and
//! what becomes of a PUT; latency, outages and clients are the world's matter.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use discovery_server::registry::{
    Batch, Key, Now as RegistryNow, Refusal, Registry, Submission, Terms, Verdict,
};
use mesh_proto::discovery::{EncodedEnvelope, Info, Revision, WatchEvent};
use mesh_proto::{ClusterId, Envelope, EnvelopeKind, MemberId, ServerId, VerifiedEnvelope};
use meshd_core::input::DiscoveryEvent;

use super::NodeId;
use super::time::{SimTime, WALL_START_MS, millis};

/// Life of a lease, as the server's default.
pub(super) const LEASE: Duration = Duration::from_secs(300);
/// Port of HTTP and STUN.
pub(super) const SERVER_PORT: u16 = 7400;
/// Decoded lines kept; a world has far fewer records in use.
const MAX_LINES: usize = 20_000;
/// Leases looked at in one pass.
const MAX_EXPIRIES: usize = 2000;

const TERMS: Terms = Terms {
    lease_ms: 300_000,
    retention_ms: 7 * 24 * 3_600_000,
    min_retention_ms: 3_600_000,
    seen_granularity_ms: 3_600_000,
    report_interval_ms: 60_000,
    max_members: 20_000,
    max_clusters: 16,
    max_bytes: 1 << 30,
};

#[derive(Debug, Clone, Copy)]
struct Watch {
    base: u64,
    at: u64,
    session: u64,
}

/// What a PUT led to.
#[derive(Debug)]
pub(super) struct Answer {
    /// For the client that asked.
    pub(super) event: Option<DiscoveryEvent>,
    /// Watchers have something to read.
    pub(super) changed: bool,
}

/// What a server does that nobody sees from outside: each request is answered as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// It tells nobody of any member.
    Withhold,
    /// It keeps nothing of what it is sent, and goes on telling what it had before.
    Lag,
}

/// Decoded lines of watches: each line is the same bytes for every watcher.
#[derive(Debug, Default)]
pub(super) struct Lines(HashMap<(usize, usize), (Bytes, Option<DiscoveryEvent>)>);

#[derive(Debug)]
pub(super) struct Server {
    index: usize,
    cluster: ClusterId,
    registry: Registry,
    epoch: u64,
    pub(super) up: bool,
    pub(super) lie: Option<Lie>,
    watches: BTreeMap<NodeId, Watch>,
    /// Watchers will be told of what changed, together, in a moment.
    pub(super) telling: bool,
    /// Lines sent so far.
    lines: BTreeMap<NodeId, u64>,
}

/// The address of a server.
pub(super) fn server_address(index: usize) -> IpAddr {
    IpAddr::from([198, 51, 100, u8::try_from(index + 1).unwrap_or(u8::MAX)])
}

fn at(now: SimTime) -> RegistryNow {
    RegistryNow {
        mono_ms: millis(now),
        wall_ms: WALL_START_MS + millis(now),
    }
}

impl Server {
    pub(super) fn new(index: usize, cluster: ClusterId) -> Self {
        Self {
            index,
            cluster,
            registry: Registry::new(TERMS, 1),
            epoch: 1,
            up: true,
            lie: None,
            watches: BTreeMap::new(),
            telling: false,
            lines: BTreeMap::new(),
        }
    }

    /// A restart that lost everything: the epoch is another one.
    pub(super) fn wipe(&mut self) {
        self.epoch += 1;
        self.registry = Registry::new(TERMS, self.epoch);
    }

    /// Ends every watch; who watched.
    pub(super) fn drop_watches(&mut self) -> Vec<(NodeId, u64)> {
        let watches = std::mem::take(&mut self.watches);
        let dropped = watches.into_iter();
        dropped.map(|(node, watch)| (node, watch.session)).collect()
    }

    pub(super) fn lines_to(&self, node: NodeId) -> u64 {
        self.lines.get(&node).copied().unwrap_or(0)
    }

    pub(super) fn end_watch(&mut self, node: NodeId) {
        self.watches.remove(&node);
    }

    /// Sessions of those who watch.
    pub(super) fn watchers(&self) -> Vec<(NodeId, u64)> {
        let watches = self.watches.iter();
        watches
            .map(|(node, watch)| (*node, watch.session))
            .collect()
    }

    pub(super) fn info(&self, seen: IpAddr, now: SimTime) -> (Info, SocketAddr) {
        let info = Info {
            server: ServerId([u8::try_from(self.index + 1).unwrap_or(u8::MAX); 16]),
            epoch: self.epoch,
            nonce: String::new(),
            stun_port: Some(SERVER_PORT),
            stun_address: None,
            your_address: seen,
            time_ms: WALL_START_MS + millis(now),
            lease_s: LEASE.as_secs(),
        };
        (
            info,
            SocketAddr::new(server_address(self.index), SERVER_PORT),
        )
    }

    /// Begins a watch where `from` left off.
    pub(super) fn watch(&mut self, node: NodeId, session: u64, from: Option<Revision>) {
        let start = self.registry.resume_at(self.cluster, from);
        let (base, at) = (start, start);
        self.watches.insert(node, Watch { base, at, session });
    }

    /// What a watcher has not read yet, and where it may resume.
    pub(super) fn read(
        &mut self,
        node: NodeId,
        lines: &mut Lines,
        hears: Option<&BTreeSet<MemberId>>,
        now: SimTime,
    ) -> (Vec<DiscoveryEvent>, Option<Revision>) {
        let (cluster, epoch) = (self.cluster, self.epoch);
        let watch = self.watches.get_mut(&node);
        let Some(watch) = watch.filter(|_| self.lie != Some(Lie::Withhold)) else {
            return (Vec::new(), None);
        };
        let mut events = Vec::new();
        loop {
            let page = self.registry.page(cluster, watch.base, watch.at, at(now));
            *self.lines.entry(node).or_default() += page.lines.len() as u64;
            let wanted = |member: &MemberId| hears.is_none_or(|hears| hears.contains(member));
            let decoded = page
                .lines
                .iter()
                .filter_map(|line| lines.decode(line, wanted));
            events.extend(decoded);
            watch.at = page.upto;
            if page.complete {
                break;
            }
        }
        watch.base = watch.at;
        (events, Some(Revision { epoch, n: watch.at }))
    }

    /// Stores an envelope, if it may be.
    pub(super) fn put(&mut self, envelope: &VerifiedEnvelope, now: SimTime) -> Answer {
        let key = Key {
            cluster: self.cluster,
            member: envelope.member(),
        };
        if self.lie == Some(Lie::Lag) {
            let told = envelope.kind() != EnvelopeKind::Report;
            let event = told.then(|| DiscoveryEvent::Published(envelope.sequence()));
            let changed = false;
            return Answer { event, changed };
        }
        let bytes = Bytes::from(envelope.encode());
        let submission = match envelope.kind() {
            EnvelopeKind::Report => Submission::report(key, bytes),
            _ => Submission::record(key, bytes),
        };
        let refused = Answer {
            event: None,
            changed: false,
        };
        let Ok(submission) = submission else {
            return refused;
        };
        let mut batch = Batch::default();
        match self.registry.judge(&mut batch, submission, at(now)) {
            Verdict::Accepted | Verdict::Renewed => {
                let changed = !self.registry.apply(batch, at(now)).is_empty();
                let stored = envelope.kind() != EnvelopeKind::Report;
                let event = stored.then(|| DiscoveryEvent::Published(envelope.sequence()));
                Answer { event, changed }
            }
            Verdict::Refused(Refusal::Conflict(stored)) => {
                let stored = Envelope::decode(&stored).and_then(Envelope::verify);
                let stored = stored
                    .ok()
                    .filter(|_| envelope.kind() != EnvelopeKind::Report);
                Answer {
                    event: stored.map(|stored| DiscoveryEvent::Conflict { stored }),
                    changed: false,
                }
            }
            Verdict::Refused(_) | Verdict::Later => refused,
        }
    }

    /// Ends leases. True if watchers have something to read.
    pub(super) fn expire(&mut self, now: SimTime) -> bool {
        let mut batch = Batch::default();
        self.registry.expire(&mut batch, at(now), MAX_EXPIRIES);
        !batch.is_empty() && !self.registry.apply(batch, at(now)).is_empty()
    }
}

impl Lines {
    /// The event of a line, if `wanted` says so of its member.
    fn decode(
        &mut self,
        line: &Bytes,
        wanted: impl Fn(&MemberId) -> bool,
    ) -> Option<DiscoveryEvent> {
        // Kept lines stay where they are, so their place tells them apart.
        let place = (line.as_ptr() as usize, line.len());
        if self.0.len() >= MAX_LINES {
            self.0.clear();
        }
        let known = self.0.entry(place);
        let (_, event) = known.or_insert_with(|| (line.clone(), parse(line)));
        let event = event.as_ref()?;
        let of = match event {
            DiscoveryEvent::Member { envelope, .. } => envelope.member(),
            DiscoveryEvent::Stale { member, .. } => *member,
            _ => return None,
        };
        wanted(&of).then(|| event.clone())
    }
}

fn parse(line: &Bytes) -> Option<DiscoveryEvent> {
    match serde_json::from_slice(line).ok()? {
        WatchEvent::Member(line) => Some(DiscoveryEvent::Member {
            envelope: verify(&line.envelope)?,
            fresh: line.fresh,
            stale_s: line.stale_s,
        }),
        WatchEvent::Stale {
            member, sequence, ..
        } => Some(DiscoveryEvent::Stale { member, sequence }),
        WatchEvent::Synced { .. } | WatchEvent::Heartbeat { .. } | WatchEvent::Goodbye => None,
    }
}

fn verify(envelope: &EncodedEnvelope) -> Option<VerifiedEnvelope> {
    envelope.decode().ok()?.verify().ok()
}
