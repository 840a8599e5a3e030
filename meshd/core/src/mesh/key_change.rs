//! Key change: a WireGuard key is replaced by another one, this node's or a member's, while data passes. The new
//! key is named in the record; it is used once the connected peers hold that record, and every session goes on
//! until there is one under the new key. Where keys are kept is not decided here.

use std::collections::BTreeMap;
use std::time::Instant;

use mesh_proto::control::{CONTROL_VERSION, KeyRotated};
use mesh_proto::{MemberId, Record, Sequence, WgPrivateKey, WgPublicKey};

use super::Mesh;
use super::peer::{Peer, PeerKind};
use super::timers::Timer;
use crate::data_plane::EngineCommand;
use crate::event::Level;
use crate::timing::KEY_CHANGE_LIMIT;
use crate::{Action, Now};

/// The key that this node will have.
#[derive(Debug)]
pub(super) struct KeyChange {
    private: WgPrivateKey,
    public: WgPublicKey,
    /// The first record that names it, and when its peers have had time to hear of it.
    named: Option<(Sequence, Instant)>,
}

/// Why the key is not replaced.
#[derive(Debug, thiserror::Error)]
pub enum KeyRefusal {
    /// It is being replaced.
    #[error("the last rotation is not over: ask again in a few seconds")]
    UnderWay,
    /// The node leaves.
    #[error("this node is leaving the cluster")]
    Leaving,
    /// Who is not connected would not find this node again.
    #[error(
        "no discovery server is connected: a node that is away now would not learn the new key; wait until \
         `meshctl status` shows one as connected"
    )]
    Unreachable,
    /// Stock peers have the present key in their configuration.
    #[error(
        "{0} (externalPeers) have the present key in their configuration and will be cut off until they are given \
         the new one: say --cut-external-peers if that is meant"
    )]
    External(String),
}

impl Mesh {
    /// Whether the WireGuard key can be replaced now; `external_too` if stock peers may be cut off.
    ///
    /// # Errors
    /// [`KeyRefusal`] says why not.
    pub fn may_rotate_key(&self, external_too: bool) -> Result<(), KeyRefusal> {
        if self.key_change.is_some() {
            return Err(KeyRefusal::UnderWay);
        }
        if self.publisher.is_leaving() {
            return Err(KeyRefusal::Leaving);
        }
        if !self.servers.iter().any(|server| server.connected) {
            return Err(KeyRefusal::Unreachable);
        }
        let external = &self.settings.external_peers;
        if !external.is_empty() && !external_too {
            let names: Vec<&str> = external.iter().map(|peer| peer.name.as_str()).collect();
            return Err(KeyRefusal::External(names.join(", ")));
        }
        Ok(())
    }

    /// Replaces the WireGuard key. `private` is on disk already; [`Action::KeyInUse`] follows when it has taken
    /// the place of the present one.
    ///
    /// # Errors
    /// As [`Self::may_rotate_key`]: then nothing has changed.
    pub fn rotate_key(
        &mut self,
        private: WgPrivateKey,
        external_too: bool,
        now: Now,
    ) -> Result<KeyRotated, KeyRefusal> {
        self.may_rotate_key(external_too)?;
        let public = private.public_key();
        self.key_change = Some(KeyChange {
            private,
            public,
            named: None,
        });
        let message = format!("the WireGuard key is replaced: {public} is the next");
        self.out.event("key_rotation", Level::Info, message);
        self.recompute(now);
        self.handle_timeout(now);
        Ok(KeyRotated {
            version: CONTROL_VERSION,
            former: self.public_key,
            public_key: public,
        })
    }

    /// The key that the own record names.
    pub(super) fn announced_key(&self) -> WgPublicKey {
        let next = self.key_change.as_ref();
        next.map_or(self.public_key, |change| change.public)
    }

    /// True if nobody else can have this key.
    pub(super) fn is_own_key(&self, key: &WgPublicKey) -> bool {
        *key == self.public_key || *key == self.announced_key()
    }

    /// A record was published.
    pub(super) fn key_published(&mut self, record: &Record, sequence: Sequence, now: Instant) {
        let Some(change) = &mut self.key_change else {
            return;
        };
        if record.wireguard_key == change.public && change.named.is_none() {
            let until = now + KEY_CHANGE_LIMIT;
            change.named = Some((sequence, until));
            self.timers.set(Timer::KeyChange, Some(until));
        }
    }

    /// Changes over as soon as all connected peers hold the record, or have had time to: one that did not hear
    /// of it loses nothing until its session ends. Peers on the kernel backend are not waited for: their session
    /// ends as they hear of it, so they could not say so, and it helps them to be answered at once.
    pub(super) fn advance_key_change(&mut self, now: Now) {
        let Some((sequence, until)) = self.key_change.as_ref().and_then(|change| change.named)
        else {
            return;
        };
        let lacks = |peer: &Peer| {
            matches!(
                peer.kind,
                PeerKind::Member {
                    userspace: true,
                    ..
                }
            ) && peer.is_alive()
                && !peer.boundary.is_closing()
                && peer.boundary.held_by_peer < sequence
        };
        if now.instant < until && self.peers.values().any(|peer| lacks(peer)) {
            return;
        }
        if let Some(change) = self.key_change.take() {
            self.use_key(change, now);
        }
    }

    fn use_key(&mut self, change: KeyChange, now: Now) {
        self.timers.set(Timer::KeyChange, None);
        self.public_key = change.public;
        self.keys.wireguard = change.private.clone();
        let command = EngineCommand::SetPrivateKey(change.private.clone());
        self.out.engine(command);
        self.out.act(Action::KeyInUse(change.private));
        let message = format!("the WireGuard key is {} now", change.public);
        self.out.event("key_in_use", Level::Info, message);
        let keys: Vec<WgPublicKey> = self.peers.keys().copied().collect();
        for key in keys {
            self.with_peer(key, now, |peer, _| {
                if !peer.boundary.is_closing() {
                    peer.other_key = true;
                    peer.dial.start(now.instant);
                }
            });
        }
    }

    /// Peers of members whose record names another key take that one, with path, session and all.
    pub(super) fn follow_keys(&mut self, now: Now) {
        for (former, key) in self.changed_keys() {
            let Some(mut peer) = self.peers.remove(&former) else {
                continue;
            };
            self.timers.set_peer(former, &mut peer.armed, None);
            self.pings.follow(former, key);
            peer.key = key;
            peer.other_key = true;
            peer.spec.public_key = key;
            let spec = Box::new(peer.spec.clone());
            self.out.engine(EngineCommand::ReplaceKey { former, spec });
            if !peer.is_alive() && !peer.boundary.is_closing() {
                peer.dial.start(now.instant);
            }
            let why =
                "has another WireGuard key; its session goes on until there is one under that";
            self.out
                .peer_event("peer_key_changed", Level::Info, &peer.label, why);
            self.peers.insert(key, peer);
        }
    }

    /// Keys of peers, each with the one that the member's record names. Not where somebody else has that key
    /// or claims it: who keeps it is decided with all of them.
    fn changed_keys(&self) -> Vec<(WgPublicKey, WgPublicKey)> {
        let peers = self.peers.values();
        let by_member: BTreeMap<MemberId, WgPublicKey> = peers
            .filter_map(|peer| Some((peer.member()?, peer.key)))
            .collect();
        let changed = by_member.into_iter().filter_map(|(id, former)| {
            let key = self.membership.get(&id)?.record.wireguard_key;
            (key != former && self.is_free(&key)).then_some((former, key))
        });
        changed.collect()
    }

    fn is_free(&self, key: &WgPublicKey) -> bool {
        let of_external = || {
            let mut external = self.settings.external_peers.iter();
            external.any(|peer| peer.public_key == *key)
        };
        let claims = || {
            let all = self.membership.iter();
            all.filter(|(_, member)| member.record.wireguard_key == *key)
                .count()
        };
        !self.peers.contains_key(key) && !self.is_own_key(key) && !of_external() && claims() == 1
    }
}
