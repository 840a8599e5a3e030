//! Servers that lie, and who was told what: what a world shows of discovery besides outages.

use std::time::Duration;

use super::World;
use crate::sim::NodeId;
use crate::sim::discovery::Lie;

impl World {
    /// From now on a server lies, or is honest again: then it tells at once what it kept back.
    pub fn lie(&mut self, server: usize, lie: Option<Lie>) {
        self.servers[server].lie = lie;
        if lie.is_none() && self.servers[server].up {
            self.push_changes(server);
        }
    }

    /// True if the node's client has a live stream of one of the servers.
    #[must_use]
    pub fn is_connected(&self, node: NodeId) -> bool {
        (0..self.servers.len()).any(|server| self.is_online(node, server))
    }

    /// Time of a request to a server and its answer.
    #[must_use]
    pub fn round_trip(&self, node: NodeId, server: usize) -> Option<Duration> {
        self.way_to_client((node, server)).map(|there| there * 2)
    }

    /// Others whose newest record servers have not told the node.
    #[must_use]
    pub fn unheard_by(&self, node: NodeId) -> Vec<NodeId> {
        let others = (0..self.nodes.len()).filter(|other| *other != node);
        others.filter(|other| !self.knows(node, *other)).collect()
    }

    /// Others whom servers have not told the node's newest record.
    #[must_use]
    pub fn unaware_of(&self, node: NodeId) -> Vec<NodeId> {
        let others = (0..self.nodes.len()).filter(|other| *other != node);
        others.filter(|other| !self.knows(*other, node)).collect()
    }

    /// How many peers a node has.
    #[must_use]
    pub fn peer_count(&self, node: NodeId) -> usize {
        let now = self.nodes[node].now(self.now);
        let mesh = self.nodes[node].mesh.as_ref();
        mesh.map_or(0, |mesh| mesh.peers(now).peers.len())
    }

    /// Others whose zone, as the node's core believes it, is not the one they are in.
    #[must_use]
    pub fn misplaced_by(&self, node: NodeId) -> Vec<NodeId> {
        let now = self.nodes[node].now(self.now);
        let mesh = self.nodes[node].mesh.as_ref();
        let peers = mesh.map_or_else(Vec::new, |mesh| mesh.peers(now).peers);
        let believed = |other: &NodeId| {
            let far = &self.nodes[*other];
            let peer = peers.iter().find(|peer| peer.id == Some(far.id));
            peer.is_some_and(|peer| Some(peer.zone.as_str()) == far.zone())
        };
        let others = (0..self.nodes.len()).filter(|other| *other != node);
        others.filter(|other| !believed(other)).collect()
    }

    /// Lines of members that servers have sent to the node's clients so far.
    #[must_use]
    pub fn lines_to(&self, node: NodeId) -> u64 {
        let servers = self.servers.iter();
        servers.map(|server| server.lines_to(node)).sum()
    }
}
