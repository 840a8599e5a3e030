//! Host problems: those of the machine and of this node's own settings.

use std::time::{Duration, Instant};

use mesh_proto::candidate::Candidate;

use super::Mesh;
use super::problems::{Found, some_of};
use crate::Now;
use crate::candidates::DropReason;

/// How long a deleted or changed interface stays worth a mention.
const INTERFACE_NEWS: Duration = Duration::from_secs(600);

impl Mesh {
    pub(super) fn host_problems(&self, now: Now, found: &mut Found) {
        self.file_problems(found);
        let facts = &self.host.facts;
        if let Some(error) = &facts.reconcile_error {
            found.warn(
                "reconcile_failed",
                format!("routes and rules could not be brought up to date: {error}"),
                "meshd needs CAP_NET_ADMIN and a kernel with policy routing; it tries again every few seconds",
            );
        }
        if let Some(error) = &self.host.persist_error {
            found.warn(
                "state_not_written",
                format!("what must outlive a restart is only in memory: {error}"),
                "check stateDir, its owner and the free space; it is tried again every few seconds",
            );
        }
        if let Some(conflict) = &facts.routing_conflict {
            found.warn(
                "routing_conflict",
                conflict.clone(),
                "another program uses our table or priorities: change routing.table or routing.rulePriority",
            );
        }
        self.forwarding_problems(found);
        if !facts.rp_filter.is_empty() {
            let names: Vec<&str> = facts.rp_filter.iter().map(String::as_str).collect();
            found.warn(
                "rp_filter",
                format!(
                    "strict reverse path filtering on {} drops tunnelled packets",
                    some_of(&names)
                ),
                "set net.ipv4.conf.IFACE.rp_filter to 2 (loose) there",
            );
        }
        self.interface_problems(now, found);
        for name in &self.host.static_failed {
            found.warn(
                "static_endpoint_unresolved",
                format!("extraAnnouncedEndpoints: {name} has never resolved"),
                "check the name and this node's DNS; the other endpoints are not affected",
            );
        }
    }

    /// What others did to the tunnel interface of late.
    fn interface_problems(&self, now: Now, found: &mut Found) {
        let recent = |at: Instant| now.instant.saturating_duration_since(at) < INTERFACE_NEWS;
        let interface = &self.settings.wireguard.interface;
        if self.host.recreated.is_some_and(recent) {
            found.info(
                "interface_recreated",
                format!("somebody deleted {interface}; it was made again"),
                "look for network managers that remove interfaces they do not know",
            );
        }
        if let Some((at, what)) = &self.host.healed
            && recent(*at)
        {
            found.info(
                "interface_changed",
                format!("{interface}: {what}"),
                "its peers are meshd's: other programs and `wg set` must leave it alone; use externalPeers",
            );
        }
    }

    fn file_problems(&self, found: &mut Found) {
        if let Some(why) = &self.host.reload_refused {
            found.warn(
                "reload_refused",
                format!("the configuration file changed and cannot be used: {why}"),
                "correct it (`meshd --check` shows everything that is wrong) and reload again; until then the former one holds",
            );
        }
        if let Some(why) = &self.host.zone_file_refused {
            found.warn(
                "zone_file_refused",
                format!("node.zoneFile cannot be used: {why}"),
                "write one zone label into the file; until then the former zone holds",
            );
        }
    }

    fn forwarding_problems(&self, found: &mut Found) {
        let facts = &self.host.facts;
        let advertise = &self.settings.networks.advertise;
        let (v4, v6) = (
            facts.forwarding_v4_off && advertise.iter().any(|net| net.addr().is_ipv4()),
            facts.forwarding_v6_off && advertise.iter().any(|net| net.addr().is_ipv6()),
        );
        let keys = [
            (v4, "net.ipv4.ip_forward"),
            (v6, "net.ipv6.conf.all.forwarding"),
        ];
        for (_, key) in keys.iter().filter(|(off, _)| *off) {
            found.warn(
                "forwarding_off",
                format!("networks.advertise is set, but {key} is 0: packets to those networks are dropped here"),
                format!("sysctl -w {key}=1, and keep it in /etc/sysctl.d"),
            );
        }
    }

    pub(super) fn filter_problems(&self, found: &mut Found) {
        let nothing = self.host.links_known() && self.gathered.advertised.is_empty();
        let filtered: Vec<&Candidate> = self
            .gathered
            .dropped
            .iter()
            .filter(|(_, reason)| *reason == DropReason::Filtered)
            .map(|(candidate, _)| candidate)
            .collect();
        if nothing && !filtered.is_empty() {
            let texts: Vec<String> = filtered.iter().map(|c| c.address.to_string()).collect();
            let names: Vec<&str> = texts.iter().map(String::as_str).collect();
            found.warn(
                "filter_excludes_all",
                format!("filters.endpoints removes every candidate of this node: {}", some_of(&names)),
                "include what shall be advertised, for example \"0.0.0.0/0\" before the exclusions; `meshctl filter test` shows what each entry does",
            );
        } else if nothing {
            found.warn(
                "no_endpoints",
                "this node knows of no address at which others could reach it",
                "give an interface a global address or set extraAnnouncedEndpoints; node.ignoreInterfaces may hide too much. Peers with a public address can still be dialled from here",
            );
        }
        let filters = &self.settings.filters;
        for (name, filter) in [
            ("filters.endpoints", &filters.endpoints),
            ("filters.peerEndpoints", &filters.peer_endpoints),
            ("filters.peerNetworks", &filters.peer_networks),
        ] {
            for warning in filter.iter().flat_map(|filter| filter.warnings()) {
                found.info(
                    "filter_warning",
                    match warning.index {
                        Some(_) => format!("{name}{warning}"),
                        None => format!("{name}: {warning}"),
                    },
                    "`meshctl filter test` shows what each entry does",
                );
            }
        }
    }
}
