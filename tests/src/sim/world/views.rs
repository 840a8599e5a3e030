//! Views: what a run shows from outside.

use super::World;
use crate::sim::NodeId;

impl World {
    /// A number that two runs share only if they went the same way.
    #[must_use]
    pub const fn trace(&self) -> u64 {
        self.checks.trace.hash()
    }

    /// Bytes and packets that a node sent on its own account so far, with IP and UDP headers.
    #[must_use]
    pub fn control_sent(&self, node: NodeId) -> (u64, u64) {
        self.checks.sent_by(node)
    }

    /// The interface of `to` that `from` sends to, if they have a path.
    #[must_use]
    pub fn way(&self, from: NodeId, to: NodeId) -> Option<usize> {
        let remote = self.nodes[from].engine.path(&self.nodes[to].key)?.remote;
        let mut interfaces = self.net.interfaces(to).iter();
        interfaces.position(|one| one.address == remote.ip())
    }

    /// Changes of path so far, of all peers a node has now.
    #[must_use]
    pub fn path_switches(&self, node: NodeId) -> u64 {
        self.checks.switches_of(node)
    }

    /// Events of a kind so far, of all nodes.
    #[must_use]
    pub fn events(&self, kind: &str) -> u64 {
        self.checks.events.get(kind).copied().unwrap_or(0)
    }

    /// Calls of cores so far.
    #[must_use]
    pub const fn calls(&self) -> u64 {
        self.calls
    }
}
