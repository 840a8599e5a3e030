//! Publish: what goes to discovery servers and to disk, in the order that keeps a sequence from being
//! used twice.

use std::time::{Duration, Instant};

use mesh_proto::discovery::EncodedEnvelope;
use mesh_proto::envelope::Contents;
use mesh_proto::{Envelope, EnvelopeKind, Record, Sequence, VerifiedEnvelope};
use rand_core::Rng as _;

use super::Mesh;
use super::publishing::Publisher;
use super::timers::Timer;
use crate::event::Level;
use crate::persistent::{PersistentMember, PersistentState};
use crate::timing::{PERSIST_GAP, PERSIST_GAP_PER_MEMBER, PERSIST_NEWS_GAP, ZONE_FILE_WAIT};
use crate::zone::zone_label;
use crate::{Action, Now};

impl Mesh {
    /// Sees to it that `own` is published, if it says something new.
    pub(super) fn consider_publishing(&mut self, own: &Record, now: Instant) {
        let known_at = self.started + ZONE_FILE_WAIT;
        if !self.host.links_known() {
            return;
        }
        match self.publisher.due(own, now) {
            Some(due) if self.zone_known() => self.timers.set_earlier(Timer::Publish, due),
            Some(due) => self.timers.set_earlier(Timer::Publish, due.max(known_at)),
            None => self.timers.set(Timer::Publish, None),
        }
    }

    /// Publishes the own record as it is now.
    pub(super) fn publish(&mut self, now: Now) {
        let record = self.own_record();
        let Some(due) = self.publisher.due(&record, now.instant) else {
            return;
        };
        // A change within the coalescing time is due a moment later; the timer says it is time.
        if self.publisher.waits_for_conflict(now.instant) {
            self.timers.set(Timer::Publish, Some(due));
            return;
        }
        let plaintext = match Publisher::plaintext(&record) {
            Ok(plaintext) => plaintext,
            Err(error) => {
                self.record_error = Some(error.to_string());
                let message = format!("the own record cannot be published: {error}");
                self.out.event("record_invalid", Level::Warn, message);
                return;
            }
        };
        let sequence = self.publisher.take_sequence(now.unix_ms);
        let sealed = self.seal(EnvelopeKind::Record, sequence, &plaintext);
        if sealed.is_empty() {
            return;
        }
        let moved = self.publisher.boundary(&record).is_none();
        if moved {
            let zone = zone_label(record.zone.as_deref(), &self.id);
            let message = format!("this node is in zone {zone} now");
            self.out.event("own_zone", Level::Info, message);
        }
        self.record_error = None;
        let message = format!("published the own record, sequence {sequence}");
        self.out.event("published", Level::Debug, message);
        self.key_published(&record, sequence, now.instant);
        self.publisher.published(record, &sealed);
        self.persist(now.instant);
        self.send_out(sealed);
        self.tell_peers(now);
        self.advance_key_change(now);
        if moved {
            for peer in self.peers.values_mut() {
                peer.ping_at(now.instant);
            }
            self.mark_dirty(now.instant);
        }
    }

    /// A server holds an envelope of ours that this node did not publish in this run, or newer removals.
    pub(super) fn conflict(&mut self, stored: &VerifiedEnvelope, now: Now) {
        if self.is_removals(stored) {
            return self.removals_heard(stored, None, now);
        }
        let ours = stored.member() == self.id
            && self
                .cluster
                .iter()
                .any(|keys| keys.cluster_id() == stored.cluster());
        if !ours {
            return;
        }
        let Some(at) = self.publisher.conflict(stored, now.instant) else {
            return;
        };
        let message = format!(
            "a server holds sequence {} of this node; publishing above it",
            stored.sequence()
        );
        self.out.event("conflict", Level::Info, message);
        if self.publisher.is_leaving() {
            self.leave(now);
        } else if self.host.links_known() {
            self.timers.set(Timer::Publish, Some(at));
        }
    }

    /// Publishes a leave and tells connected peers; the mesh stops when a server has it, or after a moment.
    pub(super) fn leave(&mut self, now: Now) {
        let sequence = self.publisher.take_sequence(now.unix_ms);
        let sealed = self.seal(EnvelopeKind::Left, sequence, b"{}");
        if sealed.is_empty() {
            return;
        }
        let deadline = self.publisher.leave(&sealed, now.instant);
        self.timers.set(Timer::Publish, None);
        self.timers.set(Timer::Leave, Some(deadline));
        self.persist(now.instant);
        self.send_out(sealed);
        self.tell_peers(now);
        self.out
            .event("leaving", Level::Info, "leaving the cluster for good");
    }

    /// The newest secret's first: it is the one that counts for those who look at one.
    fn send_out(&mut self, sealed: Vec<VerifiedEnvelope>) {
        for envelope in sealed {
            self.out.act(Action::Publish(envelope));
        }
    }

    /// Seals with every secret, the newest first: members with any one of them can read it. Empty if it
    /// cannot be sealed.
    pub(super) fn seal(
        &mut self,
        kind: EnvelopeKind,
        sequence: Sequence,
        plaintext: &[u8],
    ) -> Vec<VerifiedEnvelope> {
        let mut sealed = Vec::with_capacity(self.cluster.len());
        for keys in &self.cluster {
            let mut nonce = [0; 24];
            self.rng.fill_bytes(&mut nonce);
            let contents = Contents {
                kind,
                sequence,
                plaintext,
            };
            match Envelope::seal(keys, &self.keys.identity, contents, nonce) {
                Ok(envelope) => sealed.push(envelope),
                Err(error) => {
                    self.record_error = Some(error.to_string());
                    let message = format!("sealing failed: {error}; the record is too large");
                    self.out.event("record_invalid", Level::Warn, message);
                    return Vec::new();
                }
            }
        }
        sealed
    }

    /// Has the cache written some time: nothing is lost for good without it.
    pub(super) fn persist_later(&mut self, now: Instant) {
        self.persist_after(PERSIST_GAP, now);
    }

    /// Has the cache written soon: a member is new or has changed.
    pub(super) fn persist_soon(&mut self, now: Instant) {
        self.persist_after(PERSIST_NEWS_GAP, now);
    }

    fn persist_after(&mut self, gap: Duration, now: Instant) {
        let members = u32::try_from(self.membership.len()).unwrap_or(u32::MAX);
        let gap = gap + PERSIST_GAP_PER_MEMBER * members;
        let at = self.last_persist.map_or(now, |last| now.max(last + gap));
        self.timers.set_earlier(Timer::Persist, at);
    }

    /// Has the cache written now.
    pub(super) fn persist(&mut self, now: Instant) {
        self.last_persist = Some(now);
        self.timers.set(Timer::Persist, None);
        let (mut members, removed) = self.membership.persistent();
        // The own record is kept among the others': it tells the zone until its source is read.
        if let Some(own) = self.own_envelope() {
            members.push(PersistentMember {
                envelope: own,
                first_seen_ms: 0,
            });
        }
        self.out.act(Action::Persist(Box::new(PersistentState {
            record_sequence: self.publisher.last(),
            report_sequence: self.reporter.last(),
            members,
            removed,
            removals: self.removals.persistent(),
            prefix_owners: self.owners.clone(),
        })));
    }

    fn own_envelope(&self) -> Option<EncodedEnvelope> {
        self.publisher.encoded().cloned()
    }
}
