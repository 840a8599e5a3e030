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
const TRIES: u32 = 6;
/// Between them.
const TRY_GAP: Duration = Duration::from_millis(200);
/// For the last of them to arrive.
const TRY_WAIT: Duration = Duration::from_secs(1);

impl World {
    /// Lets the bound of the world pass without further disturbance, then asks that every pair that
    /// can talk does.
    ///
    /// # Errors
    /// The first violation.
    pub fn settle(&mut self) -> Result<(), Violation> {
        let within = self.checks.bounds().talk_within;
        self.run(within)?;
        self.check_all_talk()
    }

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
    fn pairs(&self) -> Vec<(NodeId, NodeId)> {
        let count = self.nodes.len();
        let all = (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b)));
        all.filter(|(a, b)| is_across(self.nodes[*a].zone(), self.nodes[*b].zone()))
            .collect()
    }

    /// True if the pair certainly can talk: both know the other as it is, and there is a way that
    /// recovers by itself.
    fn can_talk(&self, a: NodeId, b: NodeId) -> bool {
        let awake = self.nodes[a].is_awake() && self.nodes[b].is_awake();
        if !awake || !self.knows(a, b) || !self.knows(b, a) {
            return false;
        }
        let nics = |node: NodeId| 0..self.net.interfaces(node).len();
        nics(a).any(|i| nics(b).any(|j| self.is_way((a, i), (b, j))))
    }

    /// The record that `a` has of `b` is the one `b` has published, and that is up to date.
    fn knows(&self, a: NodeId, b: NodeId) -> bool {
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

    fn is_way(&self, (a, i): (NodeId, usize), (b, j): (NodeId, usize)) -> bool {
        let (one, other) = (&self.net.interfaces(a)[i], &self.net.interfaces(b)[j]);
        let (here, there) = (Place::Host(a, i), Place::Host(b, j));
        let open = one.up
            && other.up
            && !self.net.is_cut(here, there)
            && !self.net.is_cut(there, here)
            && self.net.loss_ppm(here, there) < 300_000;
        let default = |node: NodeId, nic| self.net.default_interface(node) == Some(nic);
        let (first, second) = (default(a, i), default(b, j));
        // Who is behind a NAT begins.
        open && if one.realm == other.realm || [one.realm, other.realm].contains(&INTERNET) {
            true
        } else {
            first && second && self.is_punchable(a, one) && self.is_punchable(b, other)
        }
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
    fn describe(&self, from: NodeId, to: NodeId) -> String {
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
