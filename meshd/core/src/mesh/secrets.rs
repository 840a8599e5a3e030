//! Secrets: which of the cluster's secrets a pair of nodes uses while one replaces the other. Both ends
//! come to the same answer from both records; a peer that is connected changes over only when it is
//! known to have heard which secrets this node holds, so that both change at nearly the same time.

use mesh_proto::{ClusterId, ClusterKeys, ClusterSecret, MemberId, PresharedKey};

use super::Mesh;
use super::membership::Member;
use super::peer::{Peer, Scene};
use super::problems::{Found, some_of};
use crate::Now;
use crate::data_plane::EngineCommand;
use crate::event::Level;

/// The preshared keys a pair may use, best first, with the cluster id of the secret each is from.
pub(super) type PairKeys = Vec<(ClusterId, PresharedKey)>;

/// The secrets both have, the one that is newest for both together first: two ends whose files order
/// them differently agree all the same. Where there is none the own first one, which leads nowhere.
fn shared<'a>(own: &'a [ClusterKeys], theirs: &[ClusterId]) -> Vec<&'a ClusterKeys> {
    let mut both: Vec<(usize, ClusterId, &ClusterKeys)> = (0..)
        .zip(own)
        .filter_map(|(rank, keys)| {
            let id = keys.cluster_id();
            let their_rank = theirs.iter().position(|their| *their == id)?;
            Some((rank + their_rank, id, keys))
        })
        .collect();
    both.sort_by_key(|(ranks, id, _)| (*ranks, *id));
    if both.is_empty() {
        return own.first().into_iter().collect();
    }
    both.into_iter().map(|(_, _, keys)| keys).collect()
}

impl Mesh {
    /// The secret file is another one: the same mesh with other secrets.
    pub(super) fn set_secret(&mut self, secret: &ClusterSecret, now: Now) {
        let next = secret.keys();
        let ids = |keys: &[ClusterKeys]| -> Vec<ClusterId> {
            keys.iter().map(ClusterKeys::cluster_id).collect()
        };
        if ids(&next) == ids(&self.cluster) {
            return;
        }
        self.former.extend(ids(&self.cluster));
        self.cluster = next;
        for id in ids(&self.cluster) {
            self.former.remove(&id);
        }
        let message = match self.cluster.len() {
            1 => "one cluster secret is in use now".to_owned(),
            count => format!(
                "{count} cluster secrets are in use now, the newest where both ends have it"
            ),
        };
        self.out.event("secrets_changed", Level::Info, message);
        self.publisher.seal_again(now.instant);
        self.recompute(now);
    }

    /// What the own record says of secrets: nothing unless there are several.
    pub(super) fn own_secrets(&self) -> Vec<ClusterId> {
        match &*self.cluster {
            [_] => Vec::new(),
            several => several.iter().map(ClusterKeys::cluster_id).collect(),
        }
    }

    /// The keys for the tunnel to a member.
    pub(super) fn pair_keys(&self, id: &MemberId, member: &Member) -> PairKeys {
        let shared = shared(&self.cluster, &member.secrets);
        if let Some(peer) = self.peer_of(id) {
            // A secret that was dropped is not used any more, whoever has not heard of that.
            let own = |id: &ClusterId| self.cluster.iter().any(|keys| keys.cluster_id() == *id);
            let mut kept = peer.pair_keys.clone();
            kept.retain(|(id, _)| own(id));
            let same =
                (kept.iter().map(|(id, _)| *id)).eq(shared.iter().map(|keys| keys.cluster_id()));
            let heard = self
                .publisher
                .secrets_since(&self.own_secrets())
                .is_some_and(|since| peer.boundary.held_by_peer >= since);
            if same || (peer.is_alive() && !heard && !kept.is_empty()) {
                return kept;
            }
        }
        shared
            .into_iter()
            .map(|keys| (keys.cluster_id(), keys.preshared_key(&self.id, id)))
            .collect()
    }

    /// How far a rotation is, for whoever has to finish it.
    pub(super) fn rotation_problems(&self, found: &mut Found) {
        let ([newest, _, ..], Some(_)) = (&*self.cluster, self.cluster.get(1)) else {
            return;
        };
        let newest = newest.cluster_id();
        let behind: Vec<String> = self
            .membership
            .iter()
            .filter(|(_, member)| !member.secrets.contains(&newest))
            .map(|(id, _)| self.names.of(id))
            .collect();
        if behind.is_empty() {
            found.info(
                "secret_rotation",
                "every known member has the new cluster secret",
                "`meshctl cluster rotate --finish --secret FILE`, copy the file to every node and reload meshd there",
            );
        } else {
            let names: Vec<&str> = behind.iter().map(String::as_str).collect();
            found.info(
                "secret_rotation",
                format!(
                    "{} of the members do not have the new cluster secret: {}",
                    names.len(),
                    some_of(&names)
                ),
                "copy cluster.secret to them and reload meshd (SIGHUP); finish the rotation when all have it, it leaves out the rest",
            );
        }
    }
}

impl Peer {
    /// A peer that does not answer may know of fewer secrets of this node than it has by now, and of no
    /// way to be told: each round tries another one.
    pub(super) fn try_secrets(&mut self, scene: &mut Scene<'_>) {
        if self.is_alive() || self.pair_keys.len() < 2 {
            return;
        }
        let round = self.dial.rounds().saturating_sub(1) % self.pair_keys.len();
        let key = Some(self.pair_keys[round].1.clone());
        if self.spec.preshared_key != key {
            self.spec.preshared_key = key;
            let spec = Box::new(self.spec.clone());
            scene.out.engine(EngineCommand::SetPeer(spec));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(own: &[u8], theirs: &[u8]) -> Vec<ClusterId> {
        let keys = |bytes: &[u8]| -> Vec<ClusterKeys> {
            let derive = |byte: &u8| ClusterKeys::derive(&[*byte; 32]);
            bytes.iter().map(derive).collect()
        };
        let theirs: Vec<_> = keys(theirs).iter().map(ClusterKeys::cluster_id).collect();
        shared(&keys(own), &theirs)
            .into_iter()
            .map(ClusterKeys::cluster_id)
            .collect()
    }

    #[test]
    fn both_ends_choose_the_same_whatever_they_hold() {
        let lists: [&[u8]; 8] = [
            &[1],
            &[2],
            &[2, 1],
            &[1, 2],
            &[3, 2, 1],
            &[3, 1],
            &[3],
            &[1, 3],
        ];
        for own in lists {
            for theirs in lists {
                let one = chosen(own, theirs);
                let meet = own.iter().any(|secret| theirs.contains(secret));
                assert_eq!(
                    one == chosen(theirs, own),
                    meet || own[0] == theirs[0],
                    "{own:?} {theirs:?}"
                );
            }
        }
        let id = |byte: u8| ClusterKeys::derive(&[byte; 32]).cluster_id();
        assert_eq!(chosen(&[2, 1], &[2, 1]), [id(2), id(1)], "the newest first");
        assert_eq!(chosen(&[2, 1], &[1]), [id(1)]);
        assert_eq!(chosen(&[2], &[1]), [id(2)], "leads nowhere");
    }
}
