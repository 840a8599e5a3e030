//! Problems: what is wrong or will surprise, each with what to do, worst first. Every code is documented
//! in `docs/problems.md`. This file has those of the cluster; `host_problems` has those of the machine.

use mesh_proto::control::{PeerState, Problem};

use super::Mesh;
use crate::Now;
use crate::event::Level;
use crate::timing::{ALONE_AFTER, CLOCK_TOLERANCE_MS, UNREACHABLE_AFTER};

/// Peers, prefixes or names listed one by one; more are summed up.
pub(super) const MAX_LISTED: usize = 10;

/// Every code there is, in the order of `docs/problems.md`.
const CODES: &[&str] = &[
    "wrong_secret",
    "discovery_unreachable",
    "clock_behind",
    "clock_ahead",
    "members_limit",
    "removed",
    "secret_rotation",
    "removed_has_secret",
    "identity_conflict",
    "state_behind",
    "reinstalled",
    "record_invalid",
    "alone",
    "same_name",
    "zone_missing",
    "zone_split",
    "reload_refused",
    "zone_file_refused",
    "reconcile_failed",
    "state_not_written",
    "routing_conflict",
    "forwarding_off",
    "rp_filter",
    "interface_recreated",
    "interface_changed",
    "static_endpoint_unresolved",
    "filter_excludes_all",
    "no_endpoints",
    "filter_warning",
    "peer_down",
    "mtu_hole",
    "key_conflict",
    "prefix_refused",
    "prefix_conflict",
];

/// Problems in the order found, with how much they matter.
#[derive(Debug, Default)]
pub(super) struct Found(Vec<(Level, Problem)>);

impl Found {
    pub(super) fn warn(
        &mut self,
        code: &str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.push(Level::Warn, code, message.into(), remedy.into());
    }

    pub(super) fn info(
        &mut self,
        code: &str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.push(Level::Info, code, message.into(), remedy.into());
    }

    fn push(&mut self, level: Level, code: &str, message: String, remedy: String) {
        debug_assert!(CODES.contains(&code), "{code} is not documented");
        let code = code.to_owned();
        let problem = Problem {
            code,
            message,
            remedy,
        };
        self.0.push((level, problem));
    }

    /// Worst first; in the order found among equals.
    fn sorted(mut self) -> Vec<Problem> {
        self.0.sort_by_key(|(level, _)| std::cmp::Reverse(*level));
        self.0.into_iter().map(|(_, problem)| problem).collect()
    }
}

impl Mesh {
    pub(super) fn problems(&self, now: Now) -> Vec<Problem> {
        let mut found = Found::default();
        self.discovery_problems(now, &mut found);
        self.membership_problems(now, &mut found);
        self.identity_problems(now, &mut found);
        self.rotation_problems(&mut found);
        self.removal_problems(&mut found);
        self.naming_problems(&mut found);
        self.zone_problems(&mut found);
        self.host_problems(now, &mut found);
        self.filter_problems(&mut found);
        self.peer_problems(&mut found);
        self.prefix_problems(&mut found);
        found.sorted()
    }

    fn discovery_problems(&self, now: Now, found: &mut Found) {
        let old = now.instant.saturating_duration_since(self.started) >= UNREACHABLE_AFTER;
        for server in &self.servers {
            let url = &server.url;
            let error = server.error.as_deref();
            if error.is_some_and(is_refusal) {
                found.warn(
                    "wrong_secret",
                    format!("{url} refuses this node: {}", error.unwrap_or("")),
                    "check that cluster.secretFile is the one of this cluster: `meshctl cluster id` must print the same id on every node",
                );
            } else if !server.connected && (error.is_some() || old) {
                found.warn(
                    "discovery_unreachable",
                    match error {
                        // Most errors begin with it.
                        Some(error) if error.contains(url) => error.to_owned(),
                        other => format!("{url}: {}", other.unwrap_or("no answer yet")),
                    },
                    "check that the server runs, that the address and port in discovery.servers are right, and that a firewall lets TCP through; existing tunnels go on without it",
                );
            }
            if let Some(offset) = server.clock_offset_ms
                && offset.unsigned_abs() > CLOCK_TOLERANCE_MS
            {
                let (code, side) = if offset > 0 {
                    ("clock_behind", "behind")
                } else {
                    ("clock_ahead", "ahead of")
                };
                found.warn(
                    code,
                    format!("this node's clock is {} s {side} the clock of {url}", offset.unsigned_abs() / 1000),
                    "synchronise the clocks (chrony, systemd-timesyncd); the mesh works meanwhile, but times in logs and a changed identity's records are off",
                );
            }
        }
    }

    fn membership_problems(&self, now: Now, found: &mut Found) {
        let refused = self.membership.refused();
        if refused.sealed > 0 {
            found.warn(
                "wrong_secret",
                format!("{} records of this cluster cannot be opened with this node's secret", refused.sealed),
                "an earlier rotation was finished before these nodes had the new secret, or somebody else has this one: copy the cluster.secret in force to them",
            );
        }
        if refused.full > 0 {
            found.warn(
                "members_limit",
                format!(
                    "{} records were dropped: there are {} members, or {} MiB of records, already",
                    refused.full,
                    super::MAX_MEMBERS,
                    super::MAX_RECORD_BYTES >> 20
                ),
                "split the cluster",
            );
        }
        if let Some(error) = &self.record_error {
            found.warn(
                "record_invalid",
                format!("this node cannot publish its record: {error}"),
                "shorten the list the message names, or correct node.name or the zone",
            );
        }
        let since = now.instant.saturating_duration_since(self.started);
        if self.membership.len() == 0 && since >= ALONE_AFTER {
            found.warn(
                "alone",
                format!("no other member after {} s", since.as_secs()),
                "start meshd on another node with the same cluster.secret and discovery server; `meshctl cluster id` must print the same id there",
            );
        }
    }

    fn naming_problems(&self, found: &mut Found) {
        let duplicates = self.names.duplicates();
        if !duplicates.is_empty() {
            found.info(
                "same_name",
                format!("several nodes are called {}", some_of(&duplicates)),
                "set node.name; until then they are shown as NAME~ID",
            );
        }
        let zoned = self
            .membership
            .iter()
            .find_map(|(_, member)| member.record.zone.as_deref());
        if let (None, Some(zone)) = (self.own_record().zone, zoned) {
            found.info(
                "zone_missing",
                format!("this node has no zone, others have (for example {zone}): it tunnels to every node"),
                "set node.zone, node.zoneRules or node.zoneFile if this node shares a site with others",
            );
        }
    }

    fn peer_problems(&self, found: &mut Found) {
        let down: Vec<&str> = self
            .listed_peers()
            .filter(|peer| peer.state == PeerState::Down)
            .map(|peer| peer.label.as_str())
            .collect();
        if down.len() > MAX_LISTED {
            found.warn(
                "peer_down",
                format!("{} peers do not answer: {}", down.len(), some_of(&down)),
                "`meshctl paths NAME` shows what was tried; a firewall must let UDP to the WireGuard port through in one direction at least",
            );
        } else {
            for name in down {
                found.warn(
                    "peer_down",
                    format!("{name} does not answer on any candidate"),
                    format!("`meshctl paths {name}` shows what was tried; check that meshd runs there and that a firewall lets UDP to the WireGuard port through in one direction at least"),
                );
            }
        }
        for (peer, size) in self
            .listed_peers()
            .filter_map(|peer| Some((peer, peer.size.limit()?)))
            .take(MAX_LISTED)
        {
            found.info(
                "mtu_hole",
                format!("packets of more than {size} bytes to {} vanish on the way", peer.label),
                format!("smaller ones are sent meanwhile; let ICMP through on the way, correct the MTU of the link to blame, or set wireguard.mtu to {size}"),
            );
        }
        for id in self.key_clashes.iter().take(MAX_LISTED) {
            found.warn(
                "key_conflict",
                format!(
                    "{} has the WireGuard key of another node",
                    self.names.of(id)
                ),
                "its wireguard.key was copied: delete it there and start meshd again",
            );
        }
    }

    fn prefix_problems(&self, found: &mut Found) {
        let mut refused: Vec<String> = Vec::new();
        for peer in self.listed_peers() {
            for prefix in self.refused_of(peer) {
                let text = format!("{} of {}: {}", prefix.prefix, peer.label, prefix.reason);
                refused.push(text);
            }
        }
        if refused.len() > MAX_LISTED {
            let count = refused.len() - MAX_LISTED;
            refused.truncate(MAX_LISTED);
            refused.push(format!(
                "{count} more prefixes (`meshctl peers -o json` lists them)"
            ));
        }
        for text in refused {
            found.warn(
                "prefix_refused",
                format!("not routed: {text}"),
                "if it is right, allow it with networks.acceptWide or filters.peerNetworks; if not, change what that node advertises, or take the prefix out with filters.excludeAdvertisedNetworks; nodes on one network belong in one zone",
            );
        }
        for prefix in self.resolution.contested.iter().take(MAX_LISTED) {
            let owner = self
                .owners
                .get(prefix)
                .map_or_else(|| "nobody".to_owned(), |owner| self.names.of(owner));
            found.warn(
                "prefix_conflict",
                format!("several nodes claim {prefix}; it is routed to {owner}"),
                "let one node advertise it, give each node a prefix of its own, or take it out with filters.excludeAdvertisedNetworks (sites that happen to use the same private addresses)",
            );
        }
    }
}

/// True if the client's words say that the server answered and does not accept this node or cluster. Only
/// the choice of the code depends on it.
fn is_refusal(error: &str) -> bool {
    let error = error.to_lowercase();
    ["unauthorized", "signature", "serve this cluster"]
        .iter()
        .any(|words| error.contains(words))
}

/// The first few, in words.
pub(super) fn some_of(names: &[&str]) -> String {
    let shown = names[..names.len().min(MAX_LISTED)].join(", ");
    if names.len() > MAX_LISTED {
        format!("{shown}, …")
    } else {
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_documented() {
        let document = include_str!("../../../../docs/problems.md");
        let documented: Vec<&str> = document
            .lines()
            .filter_map(|line| line.strip_prefix("## `")?.strip_suffix('`'))
            .collect();
        assert_eq!(documented, CODES);
    }
}
