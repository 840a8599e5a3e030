//! Membership: who is in the cluster, by what they publish. Holds records and leases; knows nothing of
//! tunnels. Only a leave, or a lease over for long together with a dead data plane, removes a member.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use mesh_proto::discovery::EncodedEnvelope;
use mesh_proto::envelope::EnvelopeError;
use mesh_proto::mesh_address::mesh_address;
use mesh_proto::{
    ClusterId, ClusterKeys, EnvelopeKind, MemberId, MeshId, Record, Sequence, VerifiedEnvelope,
};

use super::leases::Leases;
use crate::persistent::{PersistentMember, PersistentState};
use crate::timing::FORGET_AFTER;

pub(super) use self::refusal::{Refusal, RefusalCounts};

mod refusal;
#[cfg(test)]
mod tests;

/// Members a node keeps; more are refused and counted.
pub const MAX_MEMBERS: usize = 20_000;
/// Bytes of the records a node keeps, as they are stored: six thousand for each of [`MAX_MEMBERS`], four times
/// what an ordinary one has. One holder of the secret can publish many members with records of the
/// largest size.
pub const MAX_RECORD_BYTES: usize = 128 << 20;
/// Tombstones a node keeps; beyond that the oldest sequences go first.
const MAX_REMOVED: usize = 20_000;

/// One other member.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) record: Record,
    pub(super) sequence: Sequence,
    pub(super) mesh_address: Ipv6Addr,
    pub(super) first_seen_ms: u64,
    pub(super) leases: Leases,
    /// Cluster ids of the secrets it holds, newest first.
    pub(super) secrets: Vec<ClusterId>,
    /// What `encoded` is sealed with.
    sealed_for: ClusterId,
    encoded: EncodedEnvelope,
}

/// What an accepted envelope changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    /// A member that was not known.
    Joined,
    /// A newer record of a known member.
    Changed,
    /// Nothing but its lease.
    Refreshed,
    /// It left for good; its name.
    Left(Option<String>),
}

/// What a server says of a member's lease.
#[derive(Debug, Clone, Copy)]
pub(super) struct LeaseNews {
    pub(super) server: usize,
    pub(super) fresh: bool,
    pub(super) stale: Duration,
    pub(super) at: Instant,
}

#[derive(Debug)]
pub(super) struct Membership {
    mesh: MeshId,
    members: BTreeMap<MemberId, Member>,
    removed: BTreeMap<MemberId, Sequence>,
    /// Whom the administrator has removed.
    barred: BTreeSet<MemberId>,
    refused: RefusalCounts,
    /// Sum of the encoded records.
    bytes: usize,
}

impl Membership {
    /// Members in `barred` are never admitted.
    pub(super) const fn new(mesh: MeshId, barred: BTreeSet<MemberId>) -> Self {
        Self {
            mesh,
            barred,
            members: BTreeMap::new(),
            removed: BTreeMap::new(),
            refused: RefusalCounts {
                rollback: 0,
                sealed: 0,
                malformed: 0,
                full: 0,
            },
            bytes: 0,
        }
    }

    /// Takes over what the disk cache holds, except `own`, which it returns. Bad entries are counted.
    pub(super) fn load(
        &mut self,
        cache: &PersistentState,
        keys: &[ClusterKeys],
        own: MemberId,
    ) -> Option<Record> {
        self.removed = cache.removed.clone();
        let mut own_record = None;
        for entry in &cache.members {
            let envelope = entry
                .envelope
                .decode()
                .and_then(|envelope| envelope.verify());
            let Ok(envelope) = envelope else {
                self.refused.malformed += 1;
                continue;
            };
            if envelope.member() == own {
                own_record = open_record(&envelope, keys).ok();
            } else if let Err(refusal) = self.admit(&envelope, keys, entry.first_seen_ms)
                // Of a secret that was dropped since.
                && !matches!(refusal, Refusal::Envelope(EnvelopeError::Cluster))
            {
                self.refused.count(&refusal);
            }
        }
        own_record
    }

    /// Takes in what a server handed out, or the member itself, without a lease then. `clock_ms` is
    /// remembered as the time of first contact.
    pub(super) fn hear(
        &mut self,
        envelope: &VerifiedEnvelope,
        keys: &[ClusterKeys],
        lease: Option<LeaseNews>,
        clock_ms: u64,
    ) -> Result<Admitted, Refusal> {
        let forgotten = !self.members.contains_key(&envelope.member())
            && envelope.kind() == EnvelopeKind::Record
            && lease.is_some_and(|lease| !lease.fresh && lease.stale > FORGET_AFTER);
        if forgotten {
            return Err(Refusal::LongOver);
        }
        let outcome = self.admit(envelope, keys, clock_ms);
        match &outcome {
            Ok(_) => {
                if let (Some(member), Some(lease)) =
                    (self.members.get_mut(&envelope.member()), lease)
                {
                    member.leases.set(lease);
                }
            }
            Err(refusal) => self.refused.count(refusal),
        }
        outcome
    }

    /// A server's clock says that the lease of this record is over. False if nothing changed.
    pub(super) fn lease_ended(
        &mut self,
        id: &MemberId,
        sequence: Sequence,
        lease: LeaseNews,
    ) -> bool {
        self.members
            .get_mut(id)
            .filter(|member| member.sequence <= sequence)
            .is_some_and(|member| {
                let before = member.leases.is_fresh();
                member.leases.set(lease);
                before != member.leases.is_fresh()
            })
    }

    /// Forgets what was said of leases, for servers that are configured anew.
    pub(super) fn forget_leases(&mut self) {
        for member in self.members.values_mut() {
            member.leases = Leases::default();
        }
    }

    /// Removes members whose lease is over for long and that `alive` does not vouch for. Their
    /// sequences stay, so that an old record does not bring them back.
    pub(super) fn forget_dead(
        &mut self,
        now: Instant,
        alive: impl Fn(&MemberId) -> bool,
    ) -> Vec<(MemberId, String)> {
        let dead: Vec<MemberId> = self
            .members
            .iter()
            .filter(|(id, member)| member.leases.are_long_over(now) && !alive(id))
            .map(|(id, _)| *id)
            .collect();
        dead.into_iter()
            .filter_map(|id| {
                let member = self.remove(&id)?;
                // One below, so that the same record counts when its author renews it.
                self.bury(id, Sequence(member.sequence.0.saturating_sub(1)));
                Some((id, member.record.name))
            })
            .collect()
    }

    /// These, and no others, are out.
    pub(super) fn bar(&mut self, ids: BTreeSet<MemberId>) {
        for id in &ids {
            self.remove(id);
        }
        self.barred = ids;
    }

    pub(super) fn get(&self, id: &MemberId) -> Option<&Member> {
        self.members.get(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&MemberId, &Member)> + Clone {
        self.members.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) const fn refused(&self) -> RefusalCounts {
        self.refused
    }

    /// What the disk cache has to hold of members.
    pub(super) fn persistent(&self) -> (Vec<PersistentMember>, BTreeMap<MemberId, Sequence>) {
        let members = self
            .members
            .values()
            .map(|member| PersistentMember {
                envelope: member.encoded.clone(),
                first_seen_ms: member.first_seen_ms,
            })
            .collect();
        (members, self.removed.clone())
    }

    fn admit(
        &mut self,
        envelope: &VerifiedEnvelope,
        keys: &[ClusterKeys],
        first_seen_ms: u64,
    ) -> Result<Admitted, Refusal> {
        let (id, got) = (envelope.member(), envelope.sequence());
        if self.barred.contains(&id) {
            return Err(Refusal::Barred);
        }
        if let Some(held) = self.removed.get(&id).copied()
            && got <= held
        {
            return Err(Refusal::Rollback { held, got });
        }
        let known = self.members.get(&id).map(|member| member.sequence);
        match known {
            Some(held) if got < held => return Err(Refusal::Rollback { held, got }),
            Some(held) if got == held && envelope.kind() == EnvelopeKind::Record => {
                self.seal_newer(envelope, keys);
                return Ok(Admitted::Refreshed);
            }
            _ => {}
        }
        match envelope.kind() {
            EnvelopeKind::Left => {
                // Opening proves that the writer knows the cluster secret.
                envelope.open(keys)?;
                let name = self.remove(&id).map(|member| member.record.name);
                self.bury(id, got);
                Ok(Admitted::Left(name))
            }
            EnvelopeKind::Report => Err(Refusal::Kind),
            EnvelopeKind::Record => self.store(envelope, keys, first_seen_ms),
        }
    }

    /// Keeps the form of a known record that the newest secret opens: the others will be dropped.
    fn seal_newer(&mut self, envelope: &VerifiedEnvelope, keys: &[ClusterKeys]) {
        let newest = keys.first().map(ClusterKeys::cluster_id);
        let Some(member) = self.members.get_mut(&envelope.member()) else {
            return;
        };
        let better = Some(envelope.cluster()) == newest && Some(member.sealed_for) != newest;
        if better && open_record(envelope, keys).is_ok_and(|record| record == member.record) {
            let encoded = EncodedEnvelope::from_bytes(&envelope.encode());
            self.bytes = self.bytes - member.encoded.0.len() + encoded.0.len();
            member.sealed_for = envelope.cluster();
            member.encoded = encoded;
        }
    }

    fn store(
        &mut self,
        envelope: &VerifiedEnvelope,
        keys: &[ClusterKeys],
        first_seen_ms: u64,
    ) -> Result<Admitted, Refusal> {
        let id = envelope.member();
        let record = open_record(envelope, keys)?;
        let secrets = match &*record.secrets {
            [] => vec![envelope.cluster()],
            several => several.to_vec(),
        };
        let encoded = EncodedEnvelope::from_bytes(&envelope.encode());
        let replaced = self.members.get(&id).map_or(0, |old| old.encoded.0.len());
        let bytes = self.bytes - replaced + encoded.0.len();
        // What does not grow is always taken: a member must be able to tell a new address.
        if bytes > self.bytes.max(MAX_RECORD_BYTES) {
            return Err(Refusal::Full);
        }
        if let Some(member) = self.members.get_mut(&id) {
            self.bytes = bytes;
            member.record = record;
            member.sequence = envelope.sequence();
            member.secrets = secrets;
            member.sealed_for = envelope.cluster();
            member.encoded = encoded;
            return Ok(Admitted::Changed);
        }
        if self.members.len() >= MAX_MEMBERS {
            return Err(Refusal::Full);
        }
        self.bytes = bytes;
        self.removed.remove(&id);
        self.members.insert(
            id,
            Member {
                record,
                sequence: envelope.sequence(),
                mesh_address: mesh_address(&self.mesh, &id),
                first_seen_ms,
                leases: Leases::default(),
                secrets,
                sealed_for: envelope.cluster(),
                encoded,
            },
        );
        Ok(Admitted::Joined)
    }

    fn remove(&mut self, id: &MemberId) -> Option<Member> {
        let member = self.members.remove(id)?;
        self.bytes -= member.encoded.0.len();
        Some(member)
    }

    fn bury(&mut self, id: MemberId, sequence: Sequence) {
        self.removed.insert(id, sequence);
        if self.removed.len() > MAX_REMOVED {
            let oldest = self.removed.iter().min_by_key(|(_, sequence)| **sequence);
            if let Some(oldest) = oldest.map(|(id, _)| *id) {
                self.removed.remove(&oldest);
            }
        }
    }
}

fn open_record(envelope: &VerifiedEnvelope, keys: &[ClusterKeys]) -> Result<Record, Refusal> {
    Ok(Record::decode(&envelope.open(keys)?)?)
}
