//! Removals: whom the administrator has removed, honoured whatever the removed node goes on publishing.
//! The list comes from servers, from peers and from `meshctl`; whoever learns of a newer one passes it on.
//! It stays on disk, also after the secret it was sealed with is gone.

mod exchange;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use mesh_proto::control::{
    CONTROL_VERSION, MemberStatus, NodeState, RemovedMember, RemovedMembers,
};
use mesh_proto::discovery::EncodedEnvelope;
use mesh_proto::mesh_address::mesh_address;
use mesh_proto::removals::RemovalsError;
use mesh_proto::{
    ClusterKeys, ClusterSecret, MemberId, MeshId, Removal, Removals, Sequence, VerifiedEnvelope,
};

use super::Mesh;
use super::problems::Found;
use super::timestamp;
use crate::event::Level;
use crate::persistent::PersistentRemovals;
use crate::timing::REMOVALS_OFFERED_AGAIN;
use crate::{Action, Now};

pub(super) use self::exchange::Exchange;

/// The list in force.
#[derive(Debug)]
pub(super) struct RemovalList {
    mesh: MeshId,
    /// Id of the admin key.
    admin: MemberId,
    sequence: Sequence,
    removed: BTreeMap<MemberId, Removal>,
    /// The list as it travels; one for each secret it was sealed with.
    envelopes: Vec<VerifiedEnvelope>,
    /// What each server is known to hold, or was given, and when that was.
    at_servers: BTreeMap<usize, (Sequence, Instant)>,
}

/// What a list that was heard changes.
#[derive(Debug, Default)]
struct News {
    removed: Vec<Removal>,
    restored: Vec<Removal>,
}

/// Why a list handed in is not taken.
#[derive(Debug, thiserror::Error)]
pub enum RemovalRefusal {
    /// It is no list of this cluster's administrator.
    #[error(transparent)]
    List(#[from] RemovalsError),
    /// A newer one is in force.
    #[error("a list with sequence {0} is in force: ask for it again and begin anew")]
    Old(Sequence),
    /// Nothing was handed in.
    #[error("there is no list in this")]
    Empty,
}

impl RemovalList {
    /// What is on disk. Envelopes that do not verify are left out: they are not what counts here.
    pub(super) fn load(secret: &ClusterSecret, stored: &PersistentRemovals) -> Self {
        let admin = secret.admin_key().member_id();
        let verified = |encoded: &EncodedEnvelope| encoded.decode().ok()?.verify().ok();
        let mut envelopes: Vec<_> = stored.envelopes.iter().filter_map(verified).collect();
        envelopes.retain(|envelope| {
            envelope.member() == admin && envelope.sequence() == stored.sequence
        });
        let by_id = |removal: &Removal| (removal.id, removal.clone());
        Self {
            mesh: secret.mesh_id(),
            admin,
            sequence: stored.sequence,
            removed: stored.removed.iter().map(by_id).collect(),
            envelopes,
            at_servers: BTreeMap::new(),
        }
    }

    pub(super) fn persistent(&self) -> PersistentRemovals {
        let encode = |envelope: &VerifiedEnvelope| EncodedEnvelope::from_bytes(&envelope.encode());
        PersistentRemovals {
            sequence: self.sequence,
            removed: self.removed.values().cloned().collect(),
            envelopes: self.envelopes.iter().map(encode).collect(),
        }
    }

    pub(super) fn ids(&self) -> BTreeSet<MemberId> {
        self.removed.keys().copied().collect()
    }

    /// A server was connected to: it may have forgotten.
    pub(super) fn server_connected(&mut self, index: usize) {
        self.at_servers.remove(&index);
    }

    /// Takes a list. None if it is no newer than the one in force.
    fn hear(
        &mut self,
        envelope: &VerifiedEnvelope,
        keys: &[ClusterKeys],
    ) -> Result<Option<News>, RemovalsError> {
        let sequence = envelope.sequence();
        if sequence < self.sequence {
            return Ok(None);
        }
        let known = |held: &VerifiedEnvelope| held.cluster() == envelope.cluster();
        if sequence == self.sequence && self.envelopes.iter().any(known) {
            return Ok(None);
        }
        let list = Removals::open(envelope, keys, self.admin)?;
        if sequence == self.sequence {
            // The same under another secret.
            self.envelopes.push(envelope.clone());
            return Ok(None);
        }
        let next: BTreeMap<MemberId, Removal> = (list.removed.into_iter())
            .map(|removal| (removal.id, removal))
            .collect();
        let before = std::mem::replace(&mut self.removed, next);
        self.sequence = sequence;
        self.envelopes = vec![envelope.clone()];
        let missing = |from: &BTreeMap<MemberId, Removal>, in_: &BTreeMap<MemberId, Removal>| {
            let gone = from
                .values()
                .filter(|removal| !in_.contains_key(&removal.id));
            gone.cloned().collect()
        };
        Ok(Some(News {
            removed: missing(&self.removed, &before),
            restored: missing(&before, &self.removed),
        }))
    }
}

impl Mesh {
    /// True if this is the administrator's list and not a member's envelope.
    pub(super) fn is_removals(&self, envelope: &VerifiedEnvelope) -> bool {
        envelope.member() == self.removals.admin
    }

    /// A list came: from a server, or from a peer.
    pub(super) fn removals_heard(
        &mut self,
        envelope: &VerifiedEnvelope,
        server: Option<usize>,
        now: Now,
    ) {
        if let Some(server) = server {
            let heard = (envelope.sequence(), now.instant);
            let held = self.removals.at_servers.entry(server).or_insert(heard);
            *held = (*held).max(heard);
        }
        match self.removals.hear(envelope, &self.cluster) {
            Ok(Some(news)) => self.honour(&news, now),
            Ok(None) => {}
            Err(error) => {
                let message = format!("a list of removed members was refused: {error}");
                self.out.event("removals_refused", Level::Debug, message);
            }
        }
    }

    /// The administrator hands in a list, sealed once for each secret.
    ///
    /// # Errors
    /// [`RemovalRefusal`] if it is not the administrator's, or not newer than the one in force.
    pub fn remove_members(
        &mut self,
        envelopes: &[VerifiedEnvelope],
        now: Now,
    ) -> Result<RemovedMembers, RemovalRefusal> {
        let first = envelopes.first().ok_or(RemovalRefusal::Empty)?;
        if first.sequence() <= self.removals.sequence {
            return Err(RemovalRefusal::Old(self.removals.sequence));
        }
        // All or none: half of what was refused must not be in force, unsaid and not on disk.
        for envelope in envelopes {
            Removals::open(envelope, &self.cluster, self.removals.admin)?;
        }
        let mut news = None;
        for envelope in envelopes {
            news = news.or(self.removals.hear(envelope, &self.cluster)?);
        }
        self.honour(&news.unwrap_or_default(), now);
        Ok(self.removed_members())
    }

    /// `GET /v1/removals`.
    #[must_use]
    pub fn removed_members(&self) -> RemovedMembers {
        let removed = self.removals.removed.values().map(|removal| RemovedMember {
            id: removal.id,
            name: removal.name.clone(),
            removed_at: timestamp::rfc3339(removal.at_ms),
            removed_ms: removal.at_ms,
            secret: removal.secret,
        });
        RemovedMembers {
            version: CONTROL_VERSION,
            sequence: self.removals.sequence.0,
            removed: removed.collect(),
        }
    }

    /// Gives the list to servers that do not have it. Each node looks at its own time, so mostly one has
    /// done it before the others look. What was told long ago counts for nothing: servers forget leaves.
    pub(super) fn offer_removals(&mut self, now: Instant) {
        let list = &mut self.removals;
        (list.at_servers)
            .retain(|_, (_, at)| now.saturating_duration_since(*at) < REMOVALS_OFFERED_AGAIN);
        let lacking = |(index, server): (usize, &super::servers::Server)| {
            let held = list
                .at_servers
                .get(&index)
                .map_or(Sequence(0), |held| held.0);
            (server.connected && server.synced && held < list.sequence).then_some(index)
        };
        let lacking: Vec<usize> = (self.servers.iter().enumerate())
            .filter_map(lacking)
            .collect();
        if lacking.is_empty() {
            return;
        }
        for index in lacking {
            list.at_servers.insert(index, (list.sequence, now));
        }
        for envelope in &list.envelopes {
            let known = |keys: &ClusterKeys| keys.cluster_id() == envelope.cluster();
            if self.cluster.iter().any(known) {
                self.out.act(Action::PublishRemovals(envelope.clone()));
            }
        }
    }

    /// A newer list is in force. It is on disk before anybody is told.
    fn honour(&mut self, news: &News, now: Now) {
        for removal in &news.removed {
            if removal.id == self.id {
                let message = "the administrator has removed this node from the cluster";
                self.out.event("removed", Level::Warn, message);
            } else {
                let why = "removed from the cluster by the administrator";
                self.out
                    .peer_event("member_removed", Level::Info, &removal.name, why);
            }
        }
        for removal in &news.restored {
            let why = "allowed back by the administrator";
            self.out
                .peer_event("member_restored", Level::Info, &removal.name, why);
        }
        self.membership.bar(self.removals.ids());
        self.persist(now.instant);
        self.offer_removals(now.instant);
        self.tell_removals(now);
        self.mark_dirty(now.instant);
    }

    /// How removed members are listed.
    pub(super) fn removed_statuses(&self) -> impl Iterator<Item = MemberStatus> {
        let others = self.removals.removed.values();
        others
            .filter(|removal| removal.id != self.id)
            .map(|removal| MemberStatus {
                name: removal.name.clone(),
                id: removal.id,
                zone: "-".to_owned(),
                state: NodeState::Removed,
                sequence: 0,
                addresses: Vec::new(),
                networks: Vec::new(),
                mesh_address: mesh_address(&self.removals.mesh, &removal.id),
                tunnel: false,
            })
    }

    pub(super) fn removal_problems(&self, found: &mut Found) {
        if let Some(own) = self.removals.removed.get(&self.id) {
            found.warn(
                "removed",
                format!(
                    "the administrator removed this node from the cluster at {}: no other node talks to it",
                    timestamp::rfc3339(own.at_ms)
                ),
                "stop meshd here (`systemctl disable --now meshd`); if the node is to come back, `meshctl member restore` lifts the removal, or an empty stateDir and the cluster.secret in force make it a new member",
            );
        }
        let in_use = |removal: &&Removal| {
            let mut ids = self.cluster.iter().map(ClusterKeys::cluster_id);
            removal.id != self.id && ids.any(|id| id == removal.secret)
        };
        let open: Vec<&str> = (self.removals.removed.values().filter(in_use))
            .map(|removal| removal.name.as_str())
            .collect();
        if !open.is_empty() {
            found.info(
                "removed_has_secret",
                format!(
                    "removed, but the cluster secret it had is still in force: {}",
                    super::problems::some_of(&open)
                ),
                "it can read records and join again under another identity: replace the secret (`meshctl cluster rotate`) on every other node, and finish the rotation",
            );
        }
    }
}
