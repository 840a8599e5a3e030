//! Our routes as netlink messages and back. Exact in both directions: what was written reads back
//! equal, so that an unchanged state needs no change.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use meshd_core::network::{Family, Route, RouteKind};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteScope, RouteType,
};

use super::ownership::Ownership;

/// What the kernel makes of metric 0 in IPv6 (`IP6_RT_PRIO_USER`).
const IPV6_DEFAULT_METRIC: u32 = 1024;

/// The form in which the kernel will show a route.
pub(super) fn as_shown(route: Route) -> Route {
    let metric = match (route.prefix, route.metric) {
        (IpNet::V6(_), 0) => IPV6_DEFAULT_METRIC,
        (_, metric) => metric,
    };
    Route {
        prefix: route.prefix.trunc(),
        metric,
        ..route
    }
}

/// The message that adds a route. Routes into the tunnel need the index of the interface.
pub(super) fn encode(route: &Route, ownership: &Ownership, interface: Option<u32>) -> RouteMessage {
    let mut message = RouteMessage::default();
    let (kind, scope) = match (route.kind, route.prefix) {
        (RouteKind::Tunnel { .. }, IpNet::V4(_)) => (RouteType::Unicast, RouteScope::Link),
        (RouteKind::Tunnel { .. }, IpNet::V6(_)) => (RouteType::Unicast, RouteScope::Universe),
        (RouteKind::Throw, _) => (RouteType::Throw, RouteScope::Universe),
        (RouteKind::Unreachable, _) => (RouteType::Unreachable, RouteScope::Universe),
    };
    message.header = RouteHeader {
        address_family: address_family(Family::of(route.prefix.addr())),
        destination_prefix_length: route.prefix.prefix_len(),
        table: u8::try_from(ownership.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC),
        protocol: ownership.protocol.into(),
        scope,
        kind,
        ..RouteHeader::default()
    };
    message.attributes = vec![
        RouteAttribute::Table(ownership.table),
        RouteAttribute::Destination(route.prefix.network().into()),
        RouteAttribute::Priority(route.metric),
    ];
    if let RouteKind::Tunnel { source } = route.kind {
        message
            .attributes
            .extend(interface.map(RouteAttribute::Oif));
        message
            .attributes
            .extend(source.map(|source| RouteAttribute::PrefSource(source.into())));
    }
    message
}

/// The message that removes what `shown` (as listed) describes, and nothing else.
pub(super) fn encode_removal(shown: &RouteMessage) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = shown.header.clone();
    message.header.flags = Default::default();
    if shown.header.address_family == AddressFamily::Inet {
        // To the kernel this is a wildcard.
        message.header.scope = RouteScope::NoWhere;
    }
    let reject = shown.header.kind != RouteType::Unicast;
    message.attributes = shown
        .attributes
        .iter()
        .filter(|attribute| match attribute {
            RouteAttribute::Table(_)
            | RouteAttribute::Destination(_)
            | RouteAttribute::Source(_)
            | RouteAttribute::Priority(_)
            | RouteAttribute::PrefSource(_)
            | RouteAttribute::Gateway(_)
            | RouteAttribute::Via(_) => true,
            // IPv6 shows the loopback interface here.
            RouteAttribute::Oif(_) => !reject,
            _ => false,
        })
        .cloned()
        .collect();
    message
}

/// Reads a route of ours; none if it has a form that we never write. `interface` is the index of the
/// tunnel interface.
pub(super) fn decode(message: &RouteMessage, interface: Option<u32>) -> Option<Route> {
    let header = &message.header;
    if header.source_prefix_length != 0 || header.tos != 0 {
        return None;
    }
    let prefix = prefix(message)?;
    let mut metric = 0;
    let mut output = None;
    let mut source = None;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Priority(value) => metric = *value,
            RouteAttribute::Oif(index) => output = Some(*index),
            RouteAttribute::PrefSource(address) => source = Some(ip_address(address)?),
            RouteAttribute::Gateway(_)
            | RouteAttribute::Via(_)
            | RouteAttribute::MultiPath(_)
            | RouteAttribute::Encap(_)
            | RouteAttribute::NhId(_)
            | RouteAttribute::Source(_)
            | RouteAttribute::Realm(_) => return None,
            RouteAttribute::Metrics(metrics) if !metrics.is_empty() => return None,
            _ => {}
        }
    }
    let tunnel_scope = match prefix {
        IpNet::V4(_) => RouteScope::Link,
        IpNet::V6(_) => RouteScope::Universe,
    };
    let kind = match header.kind {
        RouteType::Unicast if output.is_some() && output == interface => {
            (header.scope == tunnel_scope).then_some(RouteKind::Tunnel { source })?
        }
        RouteType::Throw if source.is_none() => RouteKind::Throw,
        RouteType::Unreachable if source.is_none() => RouteKind::Unreachable,
        _ => return None,
    };
    Some(Route {
        prefix,
        metric,
        kind,
    })
}

/// Destination of a route, host bits zero.
pub(super) fn prefix(message: &RouteMessage) -> Option<IpNet> {
    let address = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Destination(address) => ip_address(address),
            _ => None,
        });
    let address = match (address, message.header.address_family) {
        (Some(address), _) => address,
        (None, AddressFamily::Inet) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        (None, AddressFamily::Inet6) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        (None, _) => return None,
    };
    let net = IpNet::new(address, message.header.destination_prefix_length).ok()?;
    Some(net.trunc())
}

/// Table of a route.
pub(super) fn table(message: &RouteMessage) -> u32 {
    message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Table(table) => Some(*table),
            _ => None,
        })
        .unwrap_or_else(|| message.header.table.into())
}

/// Metric of a route.
pub(super) fn metric(message: &RouteMessage) -> u32 {
    message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Priority(metric) => Some(*metric),
            _ => None,
        })
        .unwrap_or(0)
}

/// Interface of a route with a single next hop.
pub(super) fn output(message: &RouteMessage) -> Option<u32> {
    message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => Some(*index),
            _ => None,
        })
}

/// The family number of netlink.
pub(super) const fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

fn ip_address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INTERFACE: u32 = 7;

    fn ownership(table: u32) -> Ownership {
        Ownership {
            interface: "mesh0".to_owned(),
            table,
            rule_priority: 500,
            protocol: 84,
            mark: 0x1000,
            mask: 0x1000,
        }
    }

    fn arbitrary_route() -> impl Strategy<Value = Route> {
        let v4 = (any::<Ipv4Addr>(), 0..=32_u8, any::<Ipv4Addr>())
            .prop_map(|(net, len, source)| (IpAddr::from(net), len, IpAddr::from(source)));
        let v6 = (any::<Ipv6Addr>(), 0..=128_u8, any::<Ipv6Addr>())
            .prop_map(|(net, len, source)| (IpAddr::from(net), len, IpAddr::from(source)));
        (prop_oneof![v4, v6], any::<u32>(), 0..4_u8).prop_map(
            |((net, len, source), metric, kind)| Route {
                prefix: IpNet::new(net, len).unwrap(),
                metric,
                kind: match kind {
                    0 => RouteKind::Tunnel { source: None },
                    1 => RouteKind::Tunnel {
                        source: Some(source),
                    },
                    2 => RouteKind::Throw,
                    _ => RouteKind::Unreachable,
                },
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_as_shown(route in arbitrary_route(), wanted in 1..10_000_u32) {
            let route = as_shown(route);
            let message = encode(&route, &ownership(wanted), Some(INTERFACE));
            prop_assert_eq!(decode(&message, Some(INTERFACE)), Some(route));
            prop_assert_eq!(table(&message), wanted);
            prop_assert_eq!(metric(&message), route.metric);
        }
    }

    #[test]
    fn routes_of_a_form_we_never_write_are_not_taken_for_ours() {
        let route = Route {
            prefix: "10.0.0.0/8".parse().unwrap(),
            metric: 10,
            kind: RouteKind::Tunnel { source: None },
        };
        let good = encode(&route, &ownership(5184), Some(INTERFACE));
        assert_eq!(
            decode(&good, Some(INTERFACE + 1)),
            None,
            "another interface"
        );
        assert_eq!(decode(&good, None), None, "no interface");
        let mut gateway = good.clone();
        gateway
            .attributes
            .push(RouteAttribute::Gateway(Ipv4Addr::LOCALHOST.into()));
        assert_eq!(decode(&gateway, Some(INTERFACE)), None);
        let mut blackhole = good;
        blackhole.header.kind = RouteType::BlackHole;
        assert_eq!(decode(&blackhole, Some(INTERFACE)), None);
    }
}
