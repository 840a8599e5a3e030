//! Oracle: which pairs can talk, by what the virtual network lets through and by what the two know of
//! each other; and whether they do. Says so only where it is certain.

use std::net::IpAddr;
use std::time::Duration;

use super::NodeId;
use super::checks::{Table, Verdict, Violation, is_across, seconds};
use super::nat::Dependence;
use super::net::{INTERNET, Interface, Place};
use super::world::World;

/// Packets sent each way to see whether a pair talks.
pub(super) const TRIES: u32 = 6;
/// Between them.
pub(super) const TRY_GAP: Duration = Duration::from_millis(200);
/// For the last of them to arrive.
pub(super) const TRY_WAIT: Duration = Duration::from_secs(1);

/// How a pair can talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// One of them can begin.
    Direct,
    /// Both are behind NATs and have to begin at once.
    Punched,
}

impl World {
    /// Asks that every pair that can talk does, now.
    ///
    /// # Errors
    /// The first violation.
    pub fn check_all_talk(&mut self) -> Result<(), Violation> {
        let pairs = self.pairs();
        let able: Vec<_> = pairs
            .iter()
            .copied()
            .filter(|(a, b)| self.can_talk(*a, *b))
            .collect();
        self.forget_traffic();
        for _ in 0..TRIES {
            for (a, b) in &able {
                self.send_one(*a, *b, 0);
                self.send_one(*b, *a, 0);
            }
            self.run(TRY_GAP)?;
        }
        self.run(TRY_WAIT)?;
        for (a, b) in &able {
            for (from, to) in [(*a, *b), (*b, *a)] {
                // What is certain at the beginning is still so at the end: nobody disturbs.
                if self.arrivals(from, to).0 == 0 && self.can_talk(*a, *b) {
                    let what = format!("n{from} does not reach n{to}; {}", self.describe(from, to));
                    self.checks.violate(self.now(), "stuck", what);
                }
            }
        }
        self.check_native();
        self.checks.violation().map_or(Ok(()), Err)
    }

    /// Pairs the oracle is certain of.
    #[must_use]
    pub fn able_pairs(&self) -> usize {
        let pairs = self.pairs();
        pairs.iter().filter(|(a, b)| self.can_talk(*a, *b)).count()
    }

    /// Pairs across a zone boundary.
    pub(super) fn pairs(&self) -> Vec<(NodeId, NodeId)> {
        let count = self.nodes.len();
        let all = (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b)));
        all.filter(|(a, b)| is_across(self.nodes[*a].zone(), self.nodes[*b].zone()))
            .collect()
    }

    fn can_talk(&self, a: NodeId, b: NodeId) -> bool {
        self.reach(a, b).is_some()
    }

    /// How the pair certainly can talk: both know the other as it is, and there is a way that recovers by
    /// itself.
    pub(super) fn reach(&self, a: NodeId, b: NodeId) -> Option<Reach> {
        let awake = self.nodes[a].is_awake() && self.nodes[b].is_awake();
        if !awake || !self.knows(a, b) || !self.knows(b, a) {
            return None;
        }
        let nics = |node: NodeId| 0..self.net.interfaces(node).len();
        let ways = nics(a).flat_map(|i| nics(b).map(move |j| (i, j)));
        ways.filter_map(|(i, j)| self.reach_by((a, i), (b, j)))
            .min()
    }

    /// The record that `a` has of `b` is the one `b` has published, and that is up to date.
    pub(super) fn knows(&self, a: NodeId, b: NodeId) -> bool {
        let far = &self.nodes[b];
        let published = far.published.as_ref().map(|envelope| envelope.sequence());
        let Some(known) = self.nodes[a].known.get(&far.id) else {
            return false;
        };
        let up = self.net.interfaces(b).iter().filter(|one| one.up);
        let current = up
            .map(|one| one.address)
            .all(|address| known.record.node_addresses.contains(&address));
        Some(known.sequence) == published && current && known.record.zone.as_deref() == far.zone()
    }

    fn reach_by(&self, (a, i): (NodeId, usize), (b, j): (NodeId, usize)) -> Option<Reach> {
        let (one, other) = (&self.net.interfaces(a)[i], &self.net.interfaces(b)[j]);
        let (here, there) = (Place::Host(a, i), Place::Host(b, j));
        let open = one.up
            && other.up
            && one.address.is_ipv4() == other.address.is_ipv4()
            && !self.net.is_cut(here, there)
            && !self.net.is_cut(there, here)
            && self.net.loss_ppm(here, there) < 300_000;
        let default = |node: NodeId, nic, own| self.net.default_interface(node, own) == Some(nic);
        let first = default(a, i, one.address);
        let second = default(b, j, other.address);
        let same = one.realm == other.realm;
        let begins = |from, to, far: &Interface| {
            (same || far.realm == INTERNET) && self.is_told(from, to, far.address)
        };
        // Who is behind a NAT begins.
        if !open {
            None
        } else if same || [one.realm, other.realm].contains(&INTERNET) {
            (begins(a, b, other) || begins(b, a, one)).then_some(Reach::Direct)
        } else {
            let punch = first && second && self.is_punchable(a, one) && self.is_punchable(b, other);
            punch.then_some(Reach::Punched)
        }
    }

    /// True if a node was told that another one can be reached at an address: a filter may keep that back.
    fn is_told(&self, node: NodeId, of: NodeId, address: IpAddr) -> bool {
        let known = self.nodes[node].known.get(&self.nodes[of].id);
        let candidates = known.map(|known| &known.record.candidates);
        let mut all = candidates.into_iter().flatten();
        all.any(|one| one.address.ip() == address)
    }

    /// True if others can send to this node behind its NAT once it sends to them: the mapping is the
    /// same for all, and its public address is published.
    fn is_punchable(&self, node: NodeId, interface: &Interface) -> bool {
        let Some(nat) = self.net.nat(interface.realm) else {
            return false;
        };
        let mut candidates = self.published_candidates(node);
        nat.kind.mapping == Dependence::Independent
            && candidates.any(|address| address == nat.public)
            && (0..self.servers.len()).all(|server| self.is_online(node, server))
    }

    /// What others were last told of where the node is.
    fn published_candidates(&self, node: NodeId) -> impl Iterator<Item = IpAddr> {
        let id = self.nodes[node].id;
        let told = self.nodes.iter().find_map(|other| other.known.get(&id));
        let candidates = told.map(|known| known.record.candidates.clone());
        candidates.into_iter().flatten().map(|one| one.address.ip())
    }

    /// Members of one zone use the routes they had before.
    fn check_native(&mut self) {
        for a in 0..self.nodes.len() {
            let Some(network) = self.nodes[a]
                .network
                .as_ref()
                .filter(|_| self.nodes[a].is_awake())
            else {
                continue;
            };
            let table = Table::new(network);
            for b in 0..self.nodes.len() {
                let same = a != b && !is_across(self.nodes[a].zone(), self.nodes[b].zone());
                if !same || !self.knows(a, b) || !self.knows(b, a) || !self.nodes[b].is_awake() {
                    continue;
                }
                for interface in self.net.interfaces(b).iter().filter(|one| one.up) {
                    if table.verdict(interface.address) != Verdict::Native {
                        let what = format!(
                            "n{a} does not reach {} of n{b} natively, though both are in one zone",
                            interface.address
                        );
                        self.checks.violate(self.now(), "in_zone_tunnelled", what);
                    }
                }
            }
        }
    }

    /// What is to be known of a pair that is stuck.
    pub(super) fn describe(&self, from: NodeId, to: NodeId) -> String {
        let now = self.nodes[from].now(self.now());
        let name = format!("n{to}");
        let peers = self.nodes[from].mesh.as_ref().map(|mesh| mesh.peers(now));
        let peer = peers
            .into_iter()
            .flat_map(|peers| peers.peers)
            .find(|peer| peer.name.starts_with(&name));
        let state = peer.map_or_else(
            || "it is no peer".to_owned(),
            |peer| format!("{:?} at {:?}", peer.state, peer.endpoint),
        );
        let path = self.nodes[from].engine.path(&self.nodes[to].key);
        let path = path.map_or_else(|| "none".to_owned(), |path| path.to_string());
        format!("{state}, engine path {path}, at {}", seconds(self.now()))
    }
}
