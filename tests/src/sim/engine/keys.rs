//! Keys that change: a peer's, or the node's own.

use mesh_proto::WgPublicKey;
use meshd_core::data_plane::PeerSpec;

use super::peer::Peer;
use super::{Engine, Mode};

impl Engine {
    /// In the userspace engine sessions go on; the kernel's end with the peer.
    pub(super) fn replace_key(&mut self, former: WgPublicKey, spec: PeerSpec) {
        let key = spec.public_key;
        let Some(mut peer) = self.peers.remove(&former) else {
            return self.fault(format!("another key for a stranger {former}"));
        };
        let armed = peer.armed.take();
        self.disarm(former, armed);
        if self.peers.contains_key(&key) {
            self.fault(format!("{key} is the key of another peer"));
        }
        let path = peer.path;
        if self.mode == Mode::Kernel {
            peer = Peer::new(spec.clone());
            peer.path = path;
        }
        peer.forget_initiations();
        peer.spec = spec;
        self.peers.insert(key, peer);
        for owner in self.owners.values_mut().chain(self.prefixes.values_mut()) {
            if *owner == former {
                *owner = key;
            }
        }
    }

    pub(super) fn set_private_key(&mut self, key: WgPublicKey) {
        self.key = key;
        self.peers.values_mut().for_each(Peer::forget_initiations);
    }
}

impl Peer {
    /// A key has changed: what is under way leads nowhere.
    fn forget_initiations(&mut self) {
        self.pending.clear();
        self.initiation = None;
        self.copies.clear();
    }
}
