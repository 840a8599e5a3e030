//! Checks: what must never happen, looked at while it might. The first violation ends a run.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use mesh_proto::{ClusterKeys, EnvelopeKind, MemberId, Record, VerifiedEnvelope, WgPublicKey};
use meshd_core::Event;
use meshd_core::data_plane::{EngineCommand, PathId};
use meshd_core::network::{NetworkState, RouteKind};

use super::NodeId;
use super::node::{Known, Node};
use super::time::{SimTime, millis};

/// Bytes a second are counted over this time.
const BUDGET_WINDOW_S: u64 = 10;

/// What a run must keep to.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Every pair that can talk, and of which one end can begin, does so this long after it could.
    pub talk_within: Duration,
    /// The same of a pair behind two NATs, which both have to begin.
    pub punch_within: Duration,
    /// Changes of path of one peer in a minute.
    pub switches_per_minute: usize,
    /// New initiations to one peer in any second (DESIGN section 8).
    pub initiations_per_second: usize,
    /// Bytes a second that one node sends on its own account, with IP and UDP headers.
    pub control_bytes_per_second: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            // Who is down is dialled and asked every 5 s, a third of a second more or less.
            talk_within: Duration::from_secs(6),
            // The second round, if the first of one end came before the other end's.
            punch_within: Duration::from_secs(12),
            switches_per_minute: 10,
            initiations_per_second: 3,
            control_bytes_per_second: 125_000,
        }
    }
}

/// Something that must not happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// When.
    pub at: SimTime,
    /// Stable kind.
    pub kind: &'static str,
    /// In words.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:?}: {}", self.kind, self.at, self.what)
    }
}

/// A running hash of what happened.
#[derive(Debug)]
pub(super) struct Trace(u64);

impl Trace {
    pub(super) const fn hash(&self) -> u64 {
        self.0
    }

    pub(super) fn note(&mut self, at: SimTime, node: NodeId, kind: u64, detail: u64) {
        let nanos = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        for part in [nanos, node as u64, kind, detail] {
            self.0 = (self.0 ^ part)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29);
        }
    }
}

/// Bytes one node sent on its own account.
#[derive(Debug, Clone, Copy, Default)]
struct Meter {
    window: u64,
    bytes: u64,
    total: u64,
    packets: u64,
}

#[derive(Debug, Default)]
struct PeerWatch {
    initiations: VecDeque<SimTime>,
    switches: VecDeque<SimTime>,
    path: Option<PathId>,
    switched: u64,
}

#[derive(Debug)]
pub(super) struct Checks {
    bounds: Bounds,
    pub(super) trace: Trace,
    meters: Vec<Meter>,
    peers: BTreeMap<(NodeId, WgPublicKey), PeerWatch>,
    /// What members have said of themselves, in order. Others may hear of it through tunnels before
    /// any server tells them.
    said: BTreeMap<MemberId, Vec<Known>>,
    /// Members that have said they leave: others may have heard of that, too.
    left: BTreeSet<MemberId>,
    /// Counts of event kinds of all nodes.
    pub(super) events: BTreeMap<&'static str, u64>,
    /// What each node said of its last change of path.
    last_switch: BTreeMap<NodeId, String>,
    first: Option<Violation>,
}

impl Checks {
    pub(super) fn new(bounds: Bounds, nodes: usize) -> Self {
        Self {
            bounds,
            trace: Trace(1),
            meters: vec![Meter::default(); nodes],
            peers: BTreeMap::new(),
            said: BTreeMap::new(),
            left: BTreeSet::new(),
            events: BTreeMap::new(),
            last_switch: BTreeMap::new(),
            first: None,
        }
    }

    pub(super) const fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    pub(super) fn violation(&self) -> Option<Violation> {
        self.first.clone()
    }

    pub(super) fn violate(&mut self, at: SimTime, kind: &'static str, what: String) {
        self.first.get_or_insert(Violation { at, kind, what });
    }

    /// A packet of the node's own account goes out.
    pub(super) fn sent(&mut self, at: SimTime, node: NodeId, bytes: usize) {
        let window = at.as_secs() / BUDGET_WINDOW_S;
        let meter = &mut self.meters[node];
        if meter.window != window {
            (meter.window, meter.bytes) = (window, 0);
        }
        meter.bytes += bytes as u64;
        meter.total += bytes as u64;
        meter.packets += 1;
        let (sent, most) = (
            meter.bytes,
            self.bounds.control_bytes_per_second * BUDGET_WINDOW_S,
        );
        if sent > most {
            let what = format!("n{node} sent {sent} bytes within {BUDGET_WINDOW_S} s");
            self.violate(at, "probe_budget", what);
        }
    }

    /// Bytes and packets a node sent on its own account so far.
    pub(super) fn sent_by(&self, node: NodeId) -> (u64, u64) {
        let meter = &self.meters[node];
        (meter.total, meter.packets)
    }

    /// Changes of path so far, of all peers of a node.
    pub(super) fn switches_of(&self, node: NodeId) -> u64 {
        let peers = self.peers.iter();
        let of_node = peers.filter(|((of, _), _)| *of == node);
        of_node.map(|(_, watch)| watch.switched).sum()
    }

    pub(super) fn command(&mut self, at: SimTime, node: &Node, command: &EngineCommand) {
        let index = node.index;
        if node.network.is_none() {
            let what = format!("n{index} commands its engine before anything is closed");
            self.violate(at, "not_fail_closed", what);
        }
        match command {
            EngineCommand::Handshake { peer, copies } => {
                self.trace.note(at, index, 10, copies.len() as u64);
                let most = self.bounds.initiations_per_second;
                let watch = self.peers.entry((index, *peer)).or_default();
                watch.initiations.push_back(at);
                if watch.initiations.len() > most
                    && let Some(first) = watch.initiations.pop_front()
                    && at.saturating_sub(first) < Duration::from_secs(1)
                {
                    let what = format!("n{index}: {} initiations to {peer} in a second", most + 1);
                    self.violate(at, "initiation_storm", what);
                }
            }
            EngineCommand::SetPath { peer, path } => {
                self.trace
                    .note(at, index, 11, u64::from(path.remote.port()));
                self.switched(at, (index, *peer), *path);
            }
            EngineCommand::RemovePeer(peer) => {
                self.peers.remove(&(index, *peer));
            }
            EngineCommand::ReplaceKey { former, spec } => {
                if let Some(watch) = self.peers.remove(&(index, *former)) {
                    self.peers.insert((index, spec.public_key), watch);
                }
            }
            EngineCommand::SetPeer(spec) => {
                self.trace
                    .note(at, index, 12, spec.allowed_ips.len() as u64);
            }
            _ => {}
        }
    }

    fn switched(&mut self, at: SimTime, key: (NodeId, WgPublicKey), path: PathId) {
        let most = self.bounds.switches_per_minute;
        let watch = self.peers.entry(key).or_default();
        let before = watch.path.replace(path);
        if before.is_none_or(|before| before == path) {
            return;
        }
        watch.switched += 1;
        watch.switches.push_back(at);
        if watch.switches.len() > most
            && let Some(first) = watch.switches.pop_front()
            && at.saturating_sub(first) < Duration::from_secs(60)
        {
            let last = self.last_switch.get(&key.0).map_or("", String::as_str);
            let (node, peer, count) = (key.0, key.1, most + 1);
            let what = format!("n{node}: {count} changes of path of {peer} in a minute: {last}");
            self.violate(at, "flapping", what);
        }
    }

    pub(super) fn publish(
        &mut self,
        at: SimTime,
        node: &mut Node,
        envelope: &VerifiedEnvelope,
        keys: &[ClusterKeys],
    ) {
        let (index, sequence) = (node.index, envelope.sequence());
        self.trace.note(at, index, 13, sequence.0);
        if node.disk.record_sequence < Some(sequence) {
            let what = format!("n{index} publishes {sequence} before it is on disk");
            self.violate(at, "not_persisted", what);
        }
        if node.highest >= Some(sequence) {
            let what = format!("n{index} publishes {sequence} after {:?}", node.highest);
            self.violate(at, "sequence_back", what);
        }
        node.highest = Some(sequence);
        if envelope.kind() == EnvelopeKind::Left {
            self.left.insert(node.id);
        }
        if let Some(record) = opened(envelope, keys) {
            let said = self.said.entry(node.id).or_default();
            said.push(Known { sequence, record });
        }
    }

    /// The node is told of a record.
    pub(super) fn heard(
        &mut self,
        node: &mut Node,
        envelope: &VerifiedEnvelope,
        keys: &[ClusterKeys],
    ) {
        let (id, sequence) = (envelope.member(), envelope.sequence());
        if id == node.id {
            return;
        }
        if envelope.kind() == EnvelopeKind::Left {
            node.known.remove(&id);
            return;
        }
        if node
            .known
            .get(&id)
            .is_some_and(|known| known.sequence >= sequence)
        {
            return;
        }
        if let Some(record) = opened(envelope, keys) {
            node.known.insert(id, Known { sequence, record });
        }
    }

    pub(super) fn event(&mut self, at: SimTime, node: &mut Node, event: &Event) {
        *self.events.entry(event.kind).or_default() += 1;
        if event.kind == "path_switched" {
            let peer = event.peer.as_deref().unwrap_or_default();
            let said = format!("{peer} {}", event.message);
            self.last_switch.insert(node.index, said);
        }
        if event.kind == "member_removed" {
            let gone = event.peer.as_deref();
            node.known
                .retain(|_, known| Some(known.record.name.as_str()) != gone);
        }
        if matches!(event.kind, "peer_up" | "peer_down" | "path_switched") {
            self.trace
                .note(at, node.index, 14, event.message.len() as u64);
        }
    }

    /// The kernel state has changed: whatever belongs to a member across a boundary is closed or goes
    /// through the tunnel.
    pub(super) fn network(&mut self, at: SimTime, node: &Node) {
        let Some(network) = &node.network else {
            return;
        };
        self.trace
            .note(at, node.index, 15, network.routes.len() as u64);
        let table = Table::new(network);
        let mut exposed = Vec::new();
        for (id, known) in node.known.iter().filter(|(id, _)| !self.left.contains(id)) {
            // What was taken back since may be forgotten already.
            let said = self.said.get(id).map_or(&[][..], Vec::as_slice);
            let later = said.iter().rev();
            let later = later.take_while(|later| later.sequence > known.sequence);
            let all: Vec<&Known> = std::iter::once(known).chain(later).collect();
            let across = |known: &&Known| is_across(node.zone(), known.record.zone.as_deref());
            let has = |address| move |one: &&Known| one.record.node_addresses.contains(address);
            if all.iter().all(across) {
                let addresses = &known.record.node_addresses;
                let kept = addresses.iter().filter(|one| all.iter().all(has(*one)));
                exposed.extend(kept.map(|address| (*address, &known.record.name)));
            }
        }
        for (address, name) in exposed {
            if table.verdict(address) == Verdict::Native {
                let what = format!("n{} sends to {address} of {name} in clear", node.index);
                self.violate(at, "in_clear", what);
            }
        }
    }
}

fn opened(envelope: &VerifiedEnvelope, keys: &[ClusterKeys]) -> Option<Record> {
    Record::decode(&envelope.open(keys).ok()?).ok()
}

/// True if a pair tunnels in the default topology.
pub(super) fn is_across(a: Option<&str>, b: Option<&str>) -> bool {
    a.is_none() || b.is_none() || a != b
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Tunnel,
    Native,
    Closed,
}

/// Our routing table, for lookups by address.
pub(super) struct Table(BTreeMap<IpNet, (u32, RouteKind)>);

impl Table {
    pub(super) fn new(network: &NetworkState) -> Self {
        let mut routes = BTreeMap::new();
        for route in &network.routes {
            let best = routes
                .entry(route.prefix)
                .or_insert((route.metric, route.kind));
            if route.metric < best.0 {
                *best = (route.metric, route.kind);
            }
        }
        Self(routes)
    }

    pub(super) fn verdict(&self, address: IpAddr) -> Verdict {
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let found = (0..=longest).rev().find_map(|length| {
            let prefix = IpNet::new(address, length).ok()?.trunc();
            self.0.get(&prefix)
        });
        match found {
            Some((_, RouteKind::Tunnel { .. })) => Verdict::Tunnel,
            Some((_, RouteKind::Unreachable)) => Verdict::Closed,
            Some((_, RouteKind::Throw)) | None => Verdict::Native,
        }
    }
}

/// `1.234 s`, for people.
pub(super) fn seconds(time: Duration) -> String {
    format!("{}.{:03} s", time.as_secs(), millis(time) % 1000)
}
