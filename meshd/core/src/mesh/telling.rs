//! Telling: the own envelope goes to connected peers through their tunnels, and theirs are taken from
//! there, so that a changed address or zone is known with every server down. Only the peer's own
//! envelope counts, and it is verified like one from a server. What it says is decided elsewhere.
//!
//! A peer says in each probe which sequence it holds. Whenever the own envelope changes it is sent at
//! once, and again, ever rarer, until the peer holds it.

use std::time::Instant;

use mesh_proto::envelope_fragment::{EnvelopeFragment, Subject};
use mesh_proto::{Envelope, EnvelopeKind, MemberId, Sequence, VerifiedEnvelope, WgPublicKey};
use rand_chacha::ChaCha20Rng;

use super::Mesh;
use super::jitter;
use super::peer::{Peer, PeerKind, Scene};
use crate::Now;
use crate::data_plane::{EngineCommand, TrafficClass};
use crate::timing::{TELL_AGAIN, TELL_PAUSE};

/// Sending the own envelope to one peer.
#[derive(Debug, Default)]
pub(super) struct Telling {
    /// What is told; starts over with another.
    sequence: Sequence,
    /// Of [`TELL_AGAIN`].
    step: usize,
    next: Option<Instant>,
}

impl Telling {
    /// When to send again.
    pub(super) const fn next(&self) -> Option<Instant> {
        self.next
    }

    /// The peer holds `held` while `own` is the newest.
    fn compare(&mut self, own: Sequence, held: Sequence, now: Instant) {
        if held >= own {
            self.next = None;
        } else if self.sequence != own {
            (self.sequence, self.step, self.next) = (own, 0, Some(now));
        }
    }

    fn sent(&mut self, now: Instant, rng: &mut ChaCha20Rng) {
        let wait = TELL_AGAIN[self.step.min(TELL_AGAIN.len() - 1)];
        self.step += 1;
        self.next = Some(now + jitter::about(rng, wait));
    }
}

/// An envelope of a peer, as far as it is here. One at a time, no larger than the largest.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    sequence: Sequence,
    parts: Vec<Option<Vec<u8>>>,
}

impl Assembly {
    /// Takes a fragment; the whole, once complete. An older envelope's is dropped, a newer one's
    /// starts over.
    pub(super) fn take(&mut self, fragment: &EnvelopeFragment<'_>) -> Option<Vec<u8>> {
        let count = usize::from(fragment.count);
        if fragment.sequence < self.sequence {
            return None;
        }
        if fragment.sequence > self.sequence || self.parts.len() != count {
            self.sequence = fragment.sequence;
            self.parts = vec![None; count];
        }
        let part = self.parts.get_mut(usize::from(fragment.index))?;
        *part = Some(fragment.bytes.to_vec());
        if self.parts.iter().any(Option::is_none) {
            return None;
        }
        let parts = std::mem::take(self).parts;
        Some(parts.into_iter().flatten().flatten().collect())
    }
}

impl Peer {
    /// Compares what the peer holds of this node with what there is.
    pub(super) fn compare_held(&mut self, own: Sequence, now: Instant) {
        if self.member().is_some() {
            self.telling.compare(own, self.boundary.held_by_peer, now);
        }
    }

    /// When to tell the peer of the own envelope; not while it is not there to listen.
    pub(super) fn telling_due(&self) -> Option<Instant> {
        self.telling.next().filter(|_| self.is_alive())
    }

    /// Sends the own envelope if that is due.
    pub(super) fn tell(&mut self, scene: &mut Scene<'_>) {
        let now = scene.now.instant;
        if self.telling_due().is_none_or(|at| at > now) {
            return;
        }
        let of_peer = |(id, _): &&(_, _)| self.pair_keys.first().is_none_or(|(key, _)| key == id);
        let envelope = scene.envelopes.iter().find(of_peer);
        // A peer that shares no secret cannot open any.
        let sent = envelope.is_none_or(|(_, envelope)| {
            self.send_envelope(Subject::Own, scene.own.sequence, envelope, scene)
        });
        if sent {
            self.telling.sent(now, scene.rng);
        } else {
            self.telling.next = Some(now + jitter::about(scene.rng, TELL_PAUSE));
        }
    }

    /// Sends an envelope through the tunnel, in pieces. False if there is no room for all of them: a part
    /// of an envelope is of no use.
    pub(super) fn send_envelope(
        &self,
        subject: Subject,
        sequence: Sequence,
        envelope: &[u8],
        scene: &mut Scene<'_>,
    ) -> bool {
        let PeerKind::Member { mesh_address, .. } = self.kind else {
            return true;
        };
        let packets: Vec<Vec<u8>> = EnvelopeFragment::all(subject, sequence, envelope)
            .map(|fragment| fragment.packet(scene.own.mesh_address, mesh_address))
            .collect();
        let (count, bytes) = (packets.len() as u64, packets.iter().map(Vec::len).sum());
        if !scene.telling.take_all(scene.now.instant, bytes) {
            scene.counters.fragments_withheld += count;
            return false;
        }
        scene.counters.fragments_sent += count;
        for packet in packets {
            scene.out.engine(EngineCommand::Send {
                peer: self.key,
                path: self.path(),
                class: TrafficClass::Control,
                packet,
            });
        }
        true
    }
}

impl Mesh {
    /// A piece of a peer's envelope came out of its tunnel.
    pub(super) fn fragment_received(&mut self, peer: WgPublicKey, payload: &[u8], now: Now) {
        let Some(fragment) = EnvelopeFragment::decode(payload) else {
            return;
        };
        if fragment.subject == Subject::Removals {
            return self.removals_fragment(peer, &fragment, now);
        }
        let whole = self.with_peer(peer, now, |peer, _| {
            let PeerKind::Member { id, held, .. } = peer.kind else {
                return None;
            };
            let news = fragment.sequence > held;
            let whole = news.then(|| peer.assembly.take(&fragment)).flatten()?;
            Some((id, whole))
        });
        let Some((id, whole)) = whole.flatten() else {
            return;
        };
        match verified(&whole, id, fragment.sequence) {
            Some(envelope) => self.member_heard(&envelope, None, now),
            None => self.counters.envelopes_refused += 1,
        }
    }

    /// The own envelope is a new one: all who are connected hear of it.
    pub(super) fn tell_peers(&mut self, now: Now) {
        let own = self.own_facts();
        for (key, peer) in &mut self.peers {
            peer.compare_held(own.sequence, now.instant);
            let due = peer.next_due(&own);
            self.timers.set_peer(*key, &mut peer.armed, due);
        }
    }
}

/// The envelope that came in pieces, if `id` wrote it and it is what the pieces said.
pub(super) fn verified(bytes: &[u8], id: MemberId, sequence: Sequence) -> Option<VerifiedEnvelope> {
    let envelope = Envelope::decode(bytes).ok()?.verify().ok()?;
    let is_own = envelope.member() == id && envelope.sequence() == sequence;
    (is_own && envelope.kind() != EnvelopeKind::Report).then_some(envelope)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::SeedableRng as _;

    #[test]
    fn assembles_in_any_order_and_keeps_one_at_a_time() {
        let envelope: Vec<u8> = (0..2500_u32).map(|n| n as u8).collect();
        let pieces: Vec<_> = EnvelopeFragment::all(Subject::Own, Sequence(5), &envelope).collect();
        let mut assembly = Assembly::default();
        assert_eq!(assembly.take(&pieces[2]), None);
        assert_eq!(assembly.take(&pieces[0]), None);
        assert_eq!(assembly.take(&pieces[0]), None, "a copy");
        assert_eq!(assembly.take(&pieces[1]), Some(envelope.clone()));
        assert_eq!(assembly.take(&pieces[1]), None, "begins anew");
        let newer: Vec<_> =
            EnvelopeFragment::all(Subject::Own, Sequence(6), &envelope[..900]).collect();
        assert_eq!(assembly.take(&newer[0]), Some(envelope[..900].to_vec()));
        let newer: Vec<_> = EnvelopeFragment::all(Subject::Own, Sequence(7), &envelope).collect();
        assert_eq!(assembly.take(&newer[0]), None);
        assert_eq!(assembly.take(&pieces[1]), None, "an older one");
        assert_eq!(assembly.take(&newer[1]), None);
        assert_eq!(assembly.take(&newer[2]), Some(envelope));
    }

    #[test]
    fn tells_until_held_and_does_not_start_over() {
        let start = crate::mesh::tests::base_instant();
        let mut telling = Telling::default();
        telling.compare(Sequence(3), Sequence(0), start);
        let mut rng = ChaCha20Rng::from_seed([3; 32]);
        let mut at = start;
        for wait in TELL_AGAIN {
            assert_eq!(telling.next(), Some(at));
            telling.sent(at, &mut rng);
            let next = telling.next().unwrap();
            assert!((next - at).abs_diff(wait) <= wait / 10, "near {wait:?}");
            at = next;
            telling.compare(Sequence(3), Sequence(0), at);
        }
        telling.compare(Sequence(4), Sequence(2), at);
        assert_eq!(telling.next(), Some(at), "a new one");
        telling.compare(Sequence(4), Sequence(4), at);
        assert_eq!(telling.next(), None);
    }
}
