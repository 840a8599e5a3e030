//! Facts about the host that only matter as problems: forwarding, reverse path filters, intruders in our
//! table. Reads, never repairs: these settings are the operator's.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use meshd_core::links::{HostFacts, Link};
use meshd_core::network::{Family, TABLE_MAIN};
use netlink_packet_route::route::{RouteAttribute, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::links::default_links;
use super::netlink::Netlink;
use super::observe::list_routes;
use super::route;

/// `rp_filter` value of RFC 3704 strict mode.
const STRICT: u8 = 1;
/// Somewhere in the internet, to ask by which link packets to there leave (RFC 5737, TEST-NET-2).
const FAR_AWAY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

impl Netlink {
    /// Reads the facts of this network namespace. What cannot be read is not reported as a problem;
    /// `reconcile_error` is left to whoever reconciles.
    pub async fn read_facts(&self) -> HostFacts {
        HostFacts {
            forwarding_v4_off: is_zero("net/ipv4/ip_forward"),
            forwarding_v6_off: is_zero("net/ipv6/conf/all/forwarding"),
            rp_filter: self.strict_uplinks().await,
            routing_conflict: match self.read_observed().await {
                Ok(observed) => observed.conflict,
                Err(_) => None,
            },
            reconcile_error: None,
        }
    }

    /// Uplinks on which strict reverse path filtering drops what our rules cannot save: links with a
    /// default route of their own, by which packets from the link's own address do not leave.
    /// Everything that comes from afar on such a second uplink is lost.
    async fn strict_uplinks(&self) -> Vec<String> {
        let Ok(snapshot) = self.read_links().await else {
            return Vec::new();
        };
        let Ok(routes) = list_routes(&self.connection, Family::V4, TABLE_MAIN).await else {
            return Vec::new();
        };
        let uplinks = default_links(&routes, None);
        let mut strict = Vec::new();
        for link in snapshot.links.iter().filter(|link| {
            link.up && uplinks.contains(&link.index) && reverse_path_filter(&link.name) == STRICT
        }) {
            if self.leaves_elsewhere(link).await {
                strict.push(link.name.clone());
            }
        }
        strict
    }

    /// True if the kernel sends marked packets from this link's address by another link.
    async fn leaves_elsewhere(&self, link: &Link) -> bool {
        let source = link
            .addresses
            .iter()
            .filter(|address| address.global)
            .find_map(|address| match address.address.addr() {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            });
        let Some(source) = source else { return false };
        let mut query = RouteMessage::default();
        query.header.address_family = AddressFamily::Inet;
        query.header.destination_prefix_length = 32;
        query.header.source_prefix_length = 32;
        query.attributes = vec![
            RouteAttribute::Destination(FAR_AWAY.into()),
            RouteAttribute::Source(source.into()),
            RouteAttribute::Mark(self.ownership.mark),
        ];
        let answer = self.connection.get(RouteNetlinkMessage::GetRoute(query));
        match answer.await {
            Ok(Some(RouteNetlinkMessage::NewRoute(found))) => {
                route::output(&found).is_some_and(|index| index != link.index)
            }
            _ => false,
        }
    }
}

fn is_zero(key: &str) -> bool {
    read_number(key) == Some(0)
}

/// The mode in force: the higher number wins, so 2 (loose) on either beats 1 (strict).
fn reverse_path_filter(link: &str) -> u8 {
    let all = read_number("net/ipv4/conf/all/rp_filter").unwrap_or(0);
    let own = read_number(&format!("net/ipv4/conf/{link}/rp_filter")).unwrap_or(0);
    all.max(own)
}

fn read_number(key: &str) -> Option<u8> {
    let text = fs::read_to_string(format!("/proc/sys/{key}")).ok()?;
    text.trim().parse().ok()
}
