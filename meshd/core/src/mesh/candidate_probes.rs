//! Candidate probes: probes outside the tunnel, for ends whose WireGuard goes where packets come from. Whose a
//! datagram is, and what it takes to make one; what an answer means is in `recovery`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mesh_proto::candidate_probe::{CANDIDATE_PROBE_RANDOM, CandidateProbeKeys, CandidateTag};
use mesh_proto::{PresharedKey, WgPublicKey};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

use super::Mesh;
use super::peer::{Peer, Scene};
use crate::Now;
use crate::data_plane::PathId;

/// Between two looks for the sender of a datagram that names nobody known. Anybody can send such.
const LOOK_GAP: Duration = Duration::from_secs(1);
/// Apart from what the node draws otherwise.
const STREAM: u64 = 1;

/// What all peers share.
#[derive(Debug)]
pub(super) struct CandidateProbes {
    rng: ChaCha20Rng,
    /// Numbers of questions count from zero in each life of this process; these start elsewhere, so that no
    /// answer of an earlier life is one to a question of this.
    mask: u64,
    /// Senders by what their datagrams say; those that are gone stay until the next look.
    senders: BTreeMap<CandidateTag, WgPublicKey>,
    looked: Option<Instant>,
}

impl CandidateProbes {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        let mut rng = ChaCha20Rng::from_seed(seed);
        rng.set_stream(STREAM);
        Self {
            mask: rng.next_u64(),
            rng,
            senders: BTreeMap::new(),
            looked: None,
        }
    }

    /// The number on the wire of the question with that number, and the other way round.
    pub(super) const fn masked(&self, id: u64) -> u64 {
        id ^ self.mask
    }

    pub(super) fn random(&mut self) -> [u8; CANDIDATE_PROBE_RANDOM] {
        let mut random = [0; CANDIDATE_PROBE_RANDOM];
        self.rng.fill_bytes(&mut random);
        random
    }

    /// Who sent what has this tag to the node with the key `own`.
    fn sender(
        &mut self,
        tag: CandidateTag,
        own: &WgPublicKey,
        peers: &BTreeMap<WgPublicKey, Box<Peer>>,
        now: Instant,
    ) -> Option<WgPublicKey> {
        let rested = self.looked.is_none_or(|at| now >= at + LOOK_GAP);
        if !self.senders.contains_key(&tag) && rested {
            self.looked = Some(now);
            let all = peers.keys();
            self.senders = all.map(|key| (CandidateTag::of(key, own), *key)).collect();
        }
        self.senders.get(&tag).copied()
    }
}

/// The keys of one pair, and what they were made of.
#[derive(Debug)]
pub(super) struct PairSeal {
    own: WgPublicKey,
    peer: WgPublicKey,
    preshared_key: Option<PresharedKey>,
    keys: CandidateProbeKeys,
}

impl Peer {
    /// The keys towards this peer, made when they are first needed and when what they are made of changes.
    pub(super) fn candidate_keys(&mut self, scene: &Scene<'_>) -> &CandidateProbeKeys {
        let seal = self.seal.take().filter(|seal| {
            seal.own == scene.own.key
                && seal.peer == self.key
                && seal.preshared_key == self.spec.preshared_key
        });
        let make = || {
            let preshared_key = self.spec.preshared_key.clone();
            Box::new(PairSeal {
                own: scene.own.key,
                peer: self.key,
                keys: CandidateProbeKeys::derive(
                    scene.private_key,
                    &self.key,
                    preshared_key.as_ref(),
                ),
                preshared_key,
            })
        };
        let seal = seal.unwrap_or_else(make);
        &self.seal.insert(seal).keys
    }
}

impl Mesh {
    /// Takes a datagram if it is a candidate probe; false if not.
    pub(super) fn candidate_probe(&mut self, path: PathId, datagram: &[u8], now: Now) -> bool {
        let Some(tag) = CandidateTag::read(datagram) else {
            return false;
        };
        let own = self.public_key;
        let sender = self
            .candidate_probes
            .sender(tag, &own, &self.peers, now.instant);
        if let Some(peer) = sender {
            self.with_peer(peer, now, |peer, scene| {
                peer.candidate_probe(path, datagram, scene);
            });
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So an answer that was recorded in one life is to a question that the next one never asked.
    #[test]
    fn numbers_on_the_wire_are_others_in_each_life() {
        let [one, two] = [1, 2].map(|seed| CandidateProbes::new([seed; 32]));
        for id in 1..100 {
            assert_eq!(one.masked(one.masked(id)), id);
            assert!(two.masked(one.masked(id)) > 1000, "{id}");
        }
    }

    #[test]
    fn senders_are_looked_for_once_in_a_while_only() {
        let start = crate::mesh::tests::base_instant();
        let own = WgPublicKey([9; 32]);
        let mut probes = CandidateProbes::new([1; 32]);
        let peers = BTreeMap::new();
        let tag = CandidateTag::of(&WgPublicKey([1; 32]), &own);
        assert_eq!(probes.sender(tag, &own, &peers, start), None);
        let later = start + LOOK_GAP / 2;
        assert_eq!(probes.sender(tag, &own, &peers, later), None);
        assert_eq!(probes.looked, Some(start));
    }
}
