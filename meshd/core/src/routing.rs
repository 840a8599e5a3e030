//! Routing plan: the interface, routes and rules that the kernel shall have. Pure; the difference to
//! what it has is [`crate::diff`]'s work.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv6Net};

use crate::allowed_ips::is_wide;
use crate::links::LinkSnapshot;
use crate::network::{
    Family, IpProtocol, NetworkState, Route, RouteKind, Rule, RuleSelector, TABLE_MAIN,
};
use crate::settings::RoutingSettings;

/// Metric of throw routes: they win over everything else of the same prefix.
pub const METRIC_THROW: u32 = 5;
/// Metric of routes into the tunnel.
pub const METRIC_TUNNEL: u32 = 10;
/// Metric of unreachable routes: they count when the tunnel's route is gone.
pub const METRIC_UNREACHABLE: u32 = 20;

/// Addresses of discovery servers that get a rule; a name that resolves to more loses the rest.
pub const MAX_DISCOVERY_RULES: usize = 64;

/// What is routed to one peer.
#[derive(Debug, Clone, Copy)]
pub struct TunnelRoutes<'a> {
    /// Its allowed IPs.
    pub prefixes: &'a [IpNet],
    /// Both ends' `excludeAdvertisedNetworks`: no address in there is a source towards this peer.
    pub exclude: &'a [IpNet],
    /// `allowDownPeerBypass` is in effect: the host's own routes decide, in clear.
    pub bypassed: bool,
}

/// Everything the plan depends on.
#[derive(Debug, Clone, Copy)]
pub struct RoutingInput<'a> {
    /// Table, priorities, mark, bypasses.
    pub settings: &'a RoutingSettings,
    /// The WireGuard port.
    pub listen_port: u16,
    /// MTU of the tunnel interface.
    pub mtu: u32,
    /// This node's addresses, from [`crate::candidates::node_addresses`].
    pub own_node_addresses: &'a [IpAddr],
    /// `networks.advertise`.
    pub own_networks: &'a [IpNet],
    /// This node's mesh address.
    pub mesh_address: Ipv6Addr,
    /// The mesh's ULA.
    pub mesh_prefix: Ipv6Net,
    /// One entry per peer, external ones included.
    pub tunnels: &'a [TunnelRoutes<'a>],
    /// Prefixes of same-zone members.
    pub native: &'a BTreeSet<IpNet>,
    /// Mesh addresses of same-zone members.
    pub same_zone_mesh: &'a [Ipv6Addr],
    /// `networks.protected`.
    pub protected: &'a [IpNet],
    /// The host's links: on-link prefixes and the links of the default routes.
    pub links: &'a LinkSnapshot,
    /// Resolved addresses of discovery servers.
    pub discovery: &'a [SocketAddr],
}

/// The desired kernel state.
///
/// A prefix that stays native has a throw route and nothing else. Every prefix that is routed into the
/// tunnel has an unreachable route behind it, which takes over when the interface is gone; so have
/// protected prefixes and the mesh's ULA from the first moment.
#[must_use]
pub fn plan(input: &RoutingInput<'_>) -> NetworkState {
    let own = IpNet::from(IpAddr::V6(input.mesh_address));
    NetworkState {
        addresses: BTreeSet::from([own]),
        mtu: input.mtu,
        routes: routes(input),
        rules: rules(input),
    }
}

fn routes(input: &RoutingInput<'_>) -> BTreeSet<Route> {
    let native = native_prefixes(input);
    let sources = Sources::new(input);
    let mut routes: BTreeSet<Route> = native
        .iter()
        .map(|prefix| route(*prefix, METRIC_THROW, RouteKind::Throw))
        .collect();
    let mut closed: BTreeSet<IpNet> = input
        .same_zone_mesh
        .iter()
        .map(|address| IpNet::from(IpAddr::V6(*address)))
        .collect();
    closed.insert(IpNet::V6(input.mesh_prefix).trunc());
    for tunnel in input.tunnels {
        for prefix in tunnel.prefixes.iter().filter(|one| !native.contains(*one)) {
            // Probes go to mesh addresses: those stay, or the peer would never be up again.
            if tunnel.bypassed && !in_mesh(input, *prefix) {
                continue;
            }
            let source = sources.towards(*prefix, tunnel.exclude);
            let kind = RouteKind::Tunnel { source };
            routes.insert(route(*prefix, METRIC_TUNNEL, kind));
            closed.insert(*prefix);
        }
    }
    let protected = input.protected.iter().map(IpNet::trunc);
    let protected: Vec<IpNet> = protected
        .filter(|prefix| !native.contains(prefix) && !is_served(input, *prefix))
        .collect();
    closed.extend(protected);
    let closed = closed.into_iter();
    routes.extend(closed.map(|prefix| route(prefix, METRIC_UNREACHABLE, RouteKind::Unreachable)));
    routes
}

const fn route(prefix: IpNet, metric: u32, kind: RouteKind) -> Route {
    Route {
        prefix,
        metric,
        kind,
    }
}

/// Prefixes that the host's own routes decide about.
fn native_prefixes(input: &RoutingInput<'_>) -> BTreeSet<IpNet> {
    let own = input.links.on_link.iter().chain(input.own_networks);
    own.chain(input.native)
        .map(IpNet::trunc)
        .filter(|prefix| !in_mesh(input, *prefix))
        .collect()
}

/// True if a longer prefix inside a peer's would hide the peer: its own unreachable route keeps it
/// closed. What a default route covers is not served by it.
fn is_served(input: &RoutingInput<'_>, protected: IpNet) -> bool {
    let live = input.tunnels.iter().filter(|tunnel| !tunnel.bypassed);
    live.flat_map(|tunnel| tunnel.prefixes)
        .any(|prefix| prefix.contains(&protected) && !is_wide(*prefix))
}

fn in_mesh(input: &RoutingInput<'_>, prefix: IpNet) -> bool {
    IpNet::V6(input.mesh_prefix).contains(&prefix)
}

/// Preferred sources: peers only accept packets from addresses that are routed to this node.
struct Sources {
    /// This node's addresses, those of the default route's link first.
    v4: Vec<IpAddr>,
    v6: Vec<IpAddr>,
    mesh_address: Ipv6Addr,
    mesh_prefix: Ipv6Net,
}

impl Sources {
    fn new(input: &RoutingInput<'_>) -> Self {
        let of_family = |v4: bool, default: Option<u32>| {
            let on_default = |address: &IpAddr| {
                let mut links = input.links.links.iter();
                let link = links.find(|link| Some(link.index) == default);
                link.is_some_and(|link| {
                    link.addresses
                        .iter()
                        .any(|own| own.address.addr() == *address)
                })
            };
            let own = input.own_node_addresses.iter().copied();
            let mut own: Vec<IpAddr> = own.filter(|one| one.is_ipv4() == v4).collect();
            own.sort_by_key(|address| !on_default(address));
            own
        };
        Self {
            v4: of_family(true, input.links.default_v4),
            v6: of_family(false, input.links.default_v6),
            mesh_address: input.mesh_address,
            mesh_prefix: input.mesh_prefix,
        }
    }

    fn towards(&self, prefix: IpNet, exclude: &[IpNet]) -> Option<IpAddr> {
        let mesh_address = Some(IpAddr::V6(self.mesh_address));
        let accepted = |address: &&IpAddr| !exclude.iter().any(|net| net.contains(*address));
        match prefix {
            IpNet::V4(_) => self.v4.iter().find(accepted).copied(),
            IpNet::V6(v6) if self.mesh_prefix.contains(&v6) => mesh_address,
            IpNet::V6(_) => self.v6.iter().find(accepted).copied().or(mesh_address),
        }
    }
}

fn rules(input: &RoutingInput<'_>) -> BTreeSet<Rule> {
    let settings = input.settings;
    let mut rules = BTreeSet::new();
    let servers: BTreeSet<SocketAddr> = input.discovery.iter().copied().collect();
    for server in servers.into_iter().take(MAX_DISCOVERY_RULES) {
        let address = server.ip().to_canonical();
        rules.insert(Rule {
            family: Family::of(address),
            priority: settings.rule_priority,
            selector: RuleSelector::Destination {
                address,
                protocol: IpProtocol::Tcp,
                port: server.port(),
            },
            table: TABLE_MAIN,
        });
    }
    for family in [Family::V4, Family::V6] {
        let mut insert = |offset: u32, selector, table| {
            rules.insert(Rule {
                family,
                priority: settings.rule_priority.saturating_add(offset),
                selector,
                table,
            });
        };
        for bypass in &settings.bypass {
            let (protocol, port) = (bypass.protocol, bypass.port);
            insert(1, RuleSelector::SourcePort { protocol, port }, TABLE_MAIN);
        }
        // Reverse path filtering looks up the answer to a peer's packet without its mark.
        let wireguard = RuleSelector::SourcePort {
            protocol: IpProtocol::Udp,
            port: input.listen_port,
        };
        insert(2, wireguard, TABLE_MAIN);
        let (mark, mask) = (settings.mark, settings.mask);
        insert(3, RuleSelector::NotMark { mark, mask }, settings.table);
    }
    rules
}
