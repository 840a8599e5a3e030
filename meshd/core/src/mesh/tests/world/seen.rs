//! What a test sees of the nodes of a world: ids, tunnels, problems, events.

use super::*;

impl World {
    pub(in crate::mesh::tests) fn id(&self, index: usize) -> MemberId {
        self.nodes[index].mesh.id()
    }

    /// State of node `a`'s tunnel to node `b`; none without one.
    pub(in crate::mesh::tests) fn state(&self, a: usize, b: usize) -> Option<PeerState> {
        let id = Some(self.id(b));
        let peers = self.nodes[a].mesh.peers(self.now).peers;
        peers
            .into_iter()
            .find(|peer| peer.id == id)
            .map(|peer| peer.state)
    }

    pub(in crate::mesh::tests) fn endpoint(&self, a: usize, b: usize) -> Option<SocketAddr> {
        let id = Some(self.id(b));
        let peers = self.nodes[a].mesh.peers(self.now).peers;
        peers.into_iter().find(|peer| peer.id == id)?.endpoint
    }

    pub(in crate::mesh::tests) fn problems(&self, index: usize) -> Vec<String> {
        let status = self.nodes[index].mesh.status(self.now);
        status.problems.into_iter().map(|p| p.code).collect()
    }

    pub(in crate::mesh::tests) fn saw(&self, index: usize, kind: &str) -> usize {
        let events = self.nodes[index].events.iter();
        events.filter(|event| event.kind == kind).count()
    }
}
