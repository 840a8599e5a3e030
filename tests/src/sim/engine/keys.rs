//! Keys that change: a peer's, or the node's own.

use std::time::Instant;

use mesh_proto::WgPublicKey;
use meshd_core::data_plane::PeerSpec;

use super::peer::Peer;
use super::{Engine, Mode};

impl Engine {
    /// In the userspace engine sessions go on; the kernel's end with the peer.
    pub(super) fn replace_key(&mut self, former: WgPublicKey, spec: PeerSpec, now: Instant) {
        let key = spec.public_key;
        let Some(slot) = self.slots.remove(&former) else {
            return self.fault(format!("another key for a stranger {former}"));
        };
        if self.slots.insert(key, slot).is_some() {
            self.fault(format!("{key} is the key of another peer"));
        }
        let kernel = self.mode == Mode::Kernel;
        if let Some(peer) = self.peer_mut(slot) {
            let armed = peer.armed.take();
            if kernel {
                let path = peer.path;
                *peer = Peer::new(spec.clone(), slot);
                peer.path = path;
            }
            peer.forget_initiations();
            peer.spec = spec;
            self.disarm((former, slot), armed);
        }
        let of_former = |owner: &&mut WgPublicKey| **owner == former;
        for owner in self.prefixes.values_mut().filter(of_former) {
            *owner = key;
        }
        self.arm_peer(slot, now, false);
    }

    pub(super) fn set_private_key(&mut self, key: WgPublicKey) {
        self.key = key;
        for peer in self.peers.iter_mut().flatten() {
            peer.forget_initiations();
        }
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
