//! Exchange: the list of removals goes to each peer through its tunnel when it is new and when the peer
//! comes up, a few times, as nobody says that he has it. So it spreads with every server down.

use std::time::Instant;

use mesh_proto::envelope_fragment::{EnvelopeFragment, Subject};
use mesh_proto::{VerifiedEnvelope, WgPublicKey};

use super::super::jitter;
use super::super::peer::{Peer, Scene};
use super::super::telling::{Assembly, verified};
use super::{Mesh, RemovalList};
use crate::Now;
use crate::timing::{TELL_AGAIN, TELL_PAUSE};

/// How often a peer is sent the same list: it takes a loss of all to miss it, and then the next connection or
/// a server brings it.
const TIMES: usize = 4;

/// What goes to and comes from one peer.
#[derive(Debug, Default)]
pub(in super::super) struct Exchange {
    sent: usize,
    next: Option<Instant>,
    assembly: Assembly,
}

impl Exchange {
    /// There is something the peer may not know.
    pub(in super::super) const fn start(&mut self, list: &RemovalList, now: Instant) {
        if list.sequence.0 > 0 {
            self.sent = 0;
            self.next = Some(now);
        }
    }
}

impl RemovalList {
    /// The form that a peer can open; none if there is none under that secret.
    fn for_peer(&self, peer: &Peer) -> Option<&VerifiedEnvelope> {
        let of_peer = |envelope: &&VerifiedEnvelope| {
            let key = peer.pair_keys.first();
            key.is_none_or(|(id, _)| *id == envelope.cluster())
        };
        self.envelopes.iter().find(of_peer)
    }
}

impl Peer {
    /// When to tell the peer of removals; not while it is not there to listen.
    pub(in super::super) fn removals_due(&self) -> Option<Instant> {
        self.removals.next.filter(|_| self.is_alive())
    }

    /// Sends the list if that is due.
    pub(in super::super) fn send_removals(&mut self, scene: &mut Scene<'_>) {
        let now = scene.now.instant;
        if self.removals_due().is_none_or(|at| at > now) {
            return;
        }
        let list = scene.removals.for_peer(self);
        let Some(envelope) = list.filter(|_| self.member().is_some()) else {
            self.removals.next = None;
            return;
        };
        let (sequence, bytes) = (envelope.sequence(), envelope.encode());
        if !self.send_envelope(Subject::Removals, sequence, &bytes, scene) {
            self.removals.next = Some(now + jitter::about(scene.rng, TELL_PAUSE));
            return;
        }
        let wait = TELL_AGAIN[self.removals.sent.min(TELL_AGAIN.len() - 1)];
        self.removals.sent += 1;
        self.removals.next =
            (self.removals.sent < TIMES).then(|| now + jitter::about(scene.rng, wait));
    }
}

impl Mesh {
    /// Tells every peer, those that are removed by it included: they are peers for a moment still.
    pub(super) fn tell_removals(&mut self, now: Now) {
        let keys: Vec<WgPublicKey> = self.peers.keys().copied().collect();
        for key in keys {
            self.with_peer(key, now, |peer, scene| {
                peer.removals.start(scene.removals, now.instant);
                peer.send_removals(scene);
            });
        }
    }

    /// A piece of the list came out of a tunnel.
    pub(in super::super) fn removals_fragment(
        &mut self,
        peer: WgPublicKey,
        fragment: &EnvelopeFragment<'_>,
        now: Now,
    ) {
        if fragment.sequence <= self.removals.sequence {
            return;
        }
        let take = |peer: &mut Peer, _: &mut Scene<'_>| peer.removals.assembly.take(fragment);
        let Some(whole) = self.with_peer(peer, now, take).flatten() else {
            return;
        };
        match verified(&whole, self.removals.admin, fragment.sequence) {
            Some(envelope) => self.removals_heard(&envelope, None, now),
            None => self.counters.envelopes_refused += 1,
        }
    }
}
