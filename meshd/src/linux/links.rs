//! Reads the host's links, addresses and the routes of its main table. Changes nothing, decides nothing.

use std::collections::BTreeMap;
use std::io;

use ipnet::IpNet;
use meshd_core::links::{Link, LinkAddress, LinkRoute, LinkSnapshot, MAX_LINK_ROUTES};
use meshd_core::network::{Family, TABLE_MAIN};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkFlags, LinkMessage};
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteMessage, RouteNextHopFlags, RouteProtocol, RouteScope,
    RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};

use super::connection::{Connection, NetlinkError};
use super::netlink::Netlink;
use super::observe::{FAMILIES, list_addresses, list_routes, list_rules};
use super::{address, interface, route};

impl Netlink {
    /// Reads the host's links, addresses and the relevant routes of the main table.
    ///
    /// # Errors
    ///
    /// If the kernel does not answer; never a partial snapshot.
    pub async fn read_links(&self) -> Result<LinkSnapshot, NetlinkError> {
        let listed = list_links(&self.connection)
            .await
            .map_err(NetlinkError::reading("links"))?;
        let mut addresses = self.addresses_by_link().await?;
        let mut snapshot = LinkSnapshot::default();
        let mut loopback = None;
        let mut ours = None;
        for message in listed {
            let index = message.header.index;
            let Some(link) = decode(&message, addresses.remove(&index).unwrap_or_default()) else {
                continue;
            };
            if message.header.flags.contains(LinkFlags::Loopback) {
                loopback = Some(index);
            } else if link.name == self.ownership.interface {
                ours = Some(index);
            } else {
                snapshot.links.push(link);
            }
        }
        snapshot.links.sort_by_key(|link| link.index);
        for family in FAMILIES {
            let routes = list_routes(&self.connection, family, TABLE_MAIN)
                .await
                .map_err(NetlinkError::reading("routes"))?;
            let default = default_route(&routes, ours);
            match family {
                Family::V4 => snapshot.default_v4 = default,
                Family::V6 => snapshot.default_v6 = default,
            }
            for message in &routes {
                sort_route(message, loopback, ours, &mut snapshot);
            }
            snapshot.routes.extend(link_routes(&routes, ours));
            let rules = list_rules(&self.connection, family)
                .await
                .map_err(NetlinkError::reading("rules"))?;
            snapshot.ruled_sources.extend(ruled_sources(&rules));
        }
        keep_widest(&mut snapshot.routes);
        snapshot.ruled_sources.sort_unstable();
        snapshot.ruled_sources.dedup();
        snapshot.on_link.sort_unstable();
        snapshot.on_link.dedup();
        snapshot.via_tunnel.sort_unstable();
        snapshot.via_tunnel.dedup();
        Ok(snapshot)
    }

    async fn addresses_by_link(&self) -> Result<BTreeMap<u32, Vec<LinkAddress>>, NetlinkError> {
        let mut by_link: BTreeMap<u32, Vec<LinkAddress>> = BTreeMap::new();
        for family in FAMILIES {
            let listed = list_addresses(&self.connection, family)
                .await
                .map_err(NetlinkError::reading("addresses"))?;
            for message in &listed {
                if let Some(address) = address::decode(message) {
                    by_link
                        .entry(message.header.index)
                        .or_default()
                        .push(address);
                }
            }
        }
        Ok(by_link)
    }
}

/// Links that a usable default route of the main table leaves by, best first.
pub(super) fn default_links(routes: &[RouteMessage], ours: Option<u32>) -> Vec<u32> {
    let mut candidates: Vec<(u32, u32)> = routes
        .iter()
        .filter(|message| {
            message.header.destination_prefix_length == 0
                && message.header.kind == RouteType::Unicast
                && !message
                    .header
                    .flags
                    .intersects(RouteFlags::Dead | RouteFlags::Linkdown)
        })
        .flat_map(|message| {
            let metric = route::metric(message);
            outputs(message)
                .into_iter()
                .map(move |index| (metric, index))
        })
        .filter(|(_, index)| Some(*index) != ours)
        .collect();
    // Stable: among equal metrics the kernel's own order decides.
    candidates.sort_by_key(|(metric, _)| *metric);
    candidates.into_iter().map(|(_, index)| index).collect()
}

fn default_route(routes: &[RouteMessage], ours: Option<u32>) -> Option<u32> {
    default_links(routes, ours).first().copied()
}

/// Every usable unicast route with each link that it leaves by.
fn link_routes(routes: &[RouteMessage], ours: Option<u32>) -> impl Iterator<Item = LinkRoute> {
    let dead = RouteFlags::Dead | RouteFlags::Linkdown;
    routes
        .iter()
        .filter(move |message| {
            message.header.kind == RouteType::Unicast && !message.header.flags.intersects(dead)
        })
        .filter_map(|message| Some((route::prefix(message)?, outputs(message))))
        .filter(|(prefix, _)| !is_scoped(*prefix))
        .flat_map(|(prefix, links)| {
            links
                .into_iter()
                .map(move |link| LinkRoute { prefix, link })
        })
        .filter(move |route| Some(route.link) != ours)
}

/// Bounds the routes: those that lead to most stay.
fn keep_widest(routes: &mut Vec<LinkRoute>) {
    routes.sort_unstable();
    routes.dedup();
    if routes.len() > MAX_LINK_ROUTES {
        routes.sort_by_key(|route| route.prefix.prefix_len());
        routes.truncate(MAX_LINK_ROUTES);
        routes.sort_unstable();
    }
}

/// Source prefixes that rules send to tables of their own. Ours name none.
fn ruled_sources(rules: &[RuleMessage]) -> impl Iterator<Item = IpNet> {
    rules
        .iter()
        .filter(|rule| rule.header.action == RuleAction::ToTable && rule.header.src_len > 0)
        .filter_map(|rule| {
            let source = rule
                .attributes
                .iter()
                .find_map(|attribute| match attribute {
                    RuleAttribute::Source(address) => Some(*address),
                    _ => None,
                })?;
            IpNet::new(source, rule.header.src_len).ok()
        })
}

async fn list_links(connection: &Connection) -> io::Result<Vec<LinkMessage>> {
    let mut query = LinkMessage::default();
    query.attributes = vec![LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])];
    let listed = connection.list(RouteNetlinkMessage::GetLink(query)).await?;
    Ok(listed
        .into_iter()
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewLink(message) => Some(message),
            _ => None,
        })
        .collect())
}

fn decode(message: &LinkMessage, mut addresses: Vec<LinkAddress>) -> Option<Link> {
    let mut name = None;
    let mut mtu = 0;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(value) => name = Some(value.clone()),
            LinkAttribute::Mtu(value) => mtu = *value,
            _ => {}
        }
    }
    addresses.sort_by_key(|address| address.address);
    Some(Link {
        index: message.header.index,
        name: name?,
        kind: interface::kind(message),
        up: message
            .header
            .flags
            .contains(LinkFlags::Up | LinkFlags::LowerUp),
        mtu,
        addresses,
    })
}

/// Notes a route of the main table where it matters.
fn sort_route(
    message: &RouteMessage,
    loopback: Option<u32>,
    ours: Option<u32>,
    snapshot: &mut LinkSnapshot,
) {
    let Some(prefix) = route::prefix(message) else {
        return;
    };
    if message.header.kind != RouteType::Unicast || prefix.prefix_len() == 0 || is_scoped(prefix) {
        return;
    }
    let outputs = outputs(message);
    if outputs.iter().any(|index| Some(*index) == ours) {
        // The kernel's own belong to the interface's addresses.
        if message.header.protocol != RouteProtocol::Kernel {
            snapshot.via_tunnel.push(prefix);
        }
        return;
    }
    // IPv6 has no scopes: there, a route without a gateway is one.
    let scoped = matches!(prefix, IpNet::V6(_)) || message.header.scope == RouteScope::Link;
    if scoped
        && !has_gateway(&message.attributes)
        && !outputs.is_empty()
        && outputs.iter().all(|index| Some(*index) != loopback)
    {
        snapshot.on_link.push(prefix);
    }
}

/// Links that a route leaves by: one, or one for each usable next hop.
fn outputs(message: &RouteMessage) -> Vec<u32> {
    let unusable = RouteNextHopFlags::Dead | RouteNextHopFlags::Linkdown;
    let mut outputs: Vec<u32> = route::output(message).into_iter().collect();
    for attribute in &message.attributes {
        if let RouteAttribute::MultiPath(hops) = attribute {
            outputs.extend(
                hops.iter()
                    .filter(|hop| !hop.flags.intersects(unusable))
                    .map(|hop| hop.interface_index),
            );
        }
    }
    outputs
}

fn has_gateway(attributes: &[RouteAttribute]) -> bool {
    attributes.iter().any(|attribute| match attribute {
        RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => true,
        RouteAttribute::MultiPath(hops) => hops.iter().any(|hop| has_gateway(&hop.attributes)),
        _ => false,
    })
}

/// Link-local and multicast prefixes mean something else on every link.
fn is_scoped(prefix: IpNet) -> bool {
    match prefix {
        IpNet::V4(net) => net.network().is_link_local() || net.network().is_multicast(),
        IpNet::V6(net) => net.network().is_unicast_link_local() || net.network().is_multicast(),
    }
}
