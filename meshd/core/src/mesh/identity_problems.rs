//! Identity problems: what became of a node's state directory, as seen from its records: copied, restored
//! from an old backup, or lost. Nothing depends on what is said here but people.

use std::collections::BTreeMap;
use std::net::IpAddr;

use mesh_proto::MemberId;

use super::Mesh;
use super::problems::{Found, MAX_LISTED};
use crate::Now;

/// Conflicts in a minute that one lost state directory does not explain.
const QUARREL: usize = 3;

impl Mesh {
    pub(super) fn identity_problems(&self, now: Now, found: &mut Found) {
        if self.publisher.recent_conflicts(now.instant) >= QUARREL {
            found.warn(
                "identity_conflict",
                "another node publishes under this node's identity",
                "a state directory was copied, for example with a disk image: stop meshd on the copy, delete its stateDir, start it again",
            );
        } else if self.publisher.is_behind(now.instant) {
            found.info(
                "state_behind",
                "servers had newer records of this node than its state directory knows: it was restored from a backup, or a copy of it has run elsewhere",
                "nothing if it was restored: this node has published above them; if a copy runs elsewhere, stop meshd there and delete its stateDir",
            );
        }
        for (name, gone) in self.reinstalled().into_iter().take(MAX_LISTED) {
            found.info(
                "reinstalled",
                format!(
                    "{name} has the name and an address of {gone}, which is gone: it was installed anew without its stateDir"
                ),
                format!("nothing: {gone} is forgotten when its lease has been over for an hour; `meshctl member remove {gone}` does it now. Restore stateDir with the next reinstallation to keep identity and mesh address"),
            );
        }
    }

    /// Nodes that live, with those that do not and look like their former selves; display names.
    fn reinstalled(&self) -> Vec<(String, String)> {
        let mut living: BTreeMap<(&str, IpAddr), MemberId> = BTreeMap::new();
        let own = self.own_record();
        for address in &own.node_addresses {
            living.insert((&own.name, *address), self.id);
        }
        // The data plane knows sooner than a lease.
        let lives = |id: &MemberId| {
            if self.tunnels_to(id) {
                return self.peer_of(id).is_some_and(super::Peer::is_alive);
            }
            (self.membership.get(id)).is_some_and(|member| member.leases.is_fresh())
        };
        for (id, member) in self.membership.iter().filter(|(id, _)| lives(id)) {
            for address in &member.record.node_addresses {
                living.insert((&member.record.name, *address), *id);
            }
        }
        let gone = self.membership.iter().filter(|(id, _)| !lives(id));
        gone.filter_map(|(id, member)| {
            let record = &member.record;
            let same = |address: &IpAddr| living.get(&(record.name.as_str(), *address));
            let now = record.node_addresses.iter().find_map(same)?;
            Some((self.names.of(now), self.names.of(id)))
        })
        .collect()
    }
}
