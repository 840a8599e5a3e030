//! Golden tables of the routing plan, as `ip route` and `ip rule` would show them.

use super::*;
use crate::explain::lookup;
use crate::links::{Link, LinkAddress};
use crate::settings::Bypass;
use mesh_proto::control::ExplainVerdict;

fn parse<T: std::str::FromStr<Err: std::fmt::Debug>>(list: &[&str]) -> Vec<T> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

fn settings() -> RoutingSettings {
    RoutingSettings {
        table: 5184,
        rule_priority: 500,
        mark: 0x1000,
        mask: 0x1000,
        protocol: 84,
        bypass: Vec::new(),
    }
}

fn link(index: u32, addresses: &[&str]) -> Link {
    let address = |address| LinkAddress {
        address,
        global: true,
        temporary: false,
        unusable: false,
    };
    Link {
        index,
        name: format!("eth{index}"),
        kind: None,
        up: true,
        mtu: 1500,
        addresses: parse(addresses).into_iter().map(address).collect(),
    }
}

/// What a plan depends on, owned.
struct Host {
    settings: RoutingSettings,
    own: Vec<IpAddr>,
    networks: Vec<IpNet>,
    native: BTreeSet<IpNet>,
    same_zone_mesh: Vec<Ipv6Addr>,
    protected: Vec<IpNet>,
    links: LinkSnapshot,
    discovery: Vec<SocketAddr>,
}

impl Host {
    /// A node with 10.1.0.2 on its uplink, and a pod network.
    fn new() -> Self {
        Self {
            settings: settings(),
            own: parse(&["10.0.9.1", "10.1.0.2", "2001:db8:1::2"]),
            networks: parse(&["10.244.1.0/24"]),
            native: BTreeSet::new(),
            same_zone_mesh: Vec::new(),
            protected: Vec::new(),
            links: LinkSnapshot {
                links: vec![
                    link(1, &["10.0.9.1/24"]),
                    link(2, &["10.1.0.2/24", "2001:db8:1::2/64"]),
                ],
                on_link: parse(&["10.0.9.0/24", "10.1.0.0/24"]),
                default_v4: Some(2),
                default_v6: Some(2),
                ..LinkSnapshot::default()
            },
            discovery: Vec::new(),
        }
    }

    fn plan(&self, tunnels: &[TunnelRoutes<'_>]) -> NetworkState {
        plan(&RoutingInput {
            settings: &self.settings,
            listen_port: 51840,
            mtu: 1420,
            own_node_addresses: &self.own,
            own_networks: &self.networks,
            mesh_address: "fd12::1".parse().unwrap(),
            mesh_prefix: "fd12::/64".parse().unwrap(),
            tunnels,
            native: &self.native,
            same_zone_mesh: &self.same_zone_mesh,
            protected: &self.protected,
            links: &self.links,
            discovery: &self.discovery,
        })
    }
}

fn routes(state: &NetworkState) -> Vec<String> {
    state.routes.iter().map(ToString::to_string).collect()
}

fn rules(state: &NetworkState, family: Family) -> Vec<String> {
    let rules = state.rules.iter().filter(|rule| rule.family == family);
    rules.map(ToString::to_string).collect()
}

const THROWS: [&str; 3] = [
    "throw 10.0.9.0/24 metric 5",
    "throw 10.1.0.0/24 metric 5",
    "throw 10.244.1.0/24 metric 5",
];
const ULA: &str = "unreachable fd12::/64 metric 20";

#[test]
fn a_node_alone() {
    let mut host = Host::new();
    host.protected = parse(&["10.244.0.0/16", "10.244.1.0/24"]);
    let state = host.plan(&[]);
    assert_eq!(
        routes(&state),
        [
            THROWS[0],
            THROWS[1],
            "unreachable 10.244.0.0/16 metric 20",
            THROWS[2],
            ULA
        ]
    );
    let both = [
        "502: ipproto udp sport 51840 lookup main",
        "503: not fwmark 0x1000/0x1000 lookup 5184",
    ];
    assert_eq!(rules(&state, Family::V4), both);
    assert_eq!(rules(&state, Family::V6), both);
    assert_eq!(state.mtu, 1420);
    assert_eq!(
        Vec::from_iter(state.addresses),
        parse::<IpNet>(&["fd12::1/128"])
    );
}

#[test]
fn peers_get_a_device_route_and_an_unreachable_one_behind_it() {
    let prefixes = parse(&[
        "10.2.0.2/32",
        "10.244.2.0/24",
        "2001:db8:2::2/128",
        "fd12::2/128",
    ]);
    let peer = TunnelRoutes {
        prefixes: &prefixes,
        exclude: &[],
        bypassed: false,
    };
    let expected = [
        THROWS[0],
        THROWS[1],
        "10.2.0.2/32 dev tunnel metric 10 src 10.1.0.2",
        "unreachable 10.2.0.2/32 metric 20",
        THROWS[2],
        "10.244.2.0/24 dev tunnel metric 10 src 10.1.0.2",
        "unreachable 10.244.2.0/24 metric 20",
        "2001:db8:2::2/128 dev tunnel metric 10 src 2001:db8:1::2",
        "unreachable 2001:db8:2::2/128 metric 20",
        ULA,
        "fd12::2/128 dev tunnel metric 10 src fd12::1",
        "unreachable fd12::2/128 metric 20",
    ];
    assert_eq!(routes(&Host::new().plan(&[peer])), expected);
}

#[test]
fn sources_are_addresses_that_the_peer_accepts() {
    let prefixes = parse::<IpNet>(&["10.2.0.2/32", "2001:db8:2::2/128"]);
    let source = |host: &Host, exclude: &[&str]| -> Vec<Option<IpAddr>> {
        let exclude = parse::<IpNet>(exclude);
        let peer = TunnelRoutes {
            prefixes: &prefixes,
            exclude: &exclude,
            bypassed: false,
        };
        let state = host.plan(&[peer]);
        let kinds = state.routes.iter().map(|route| route.kind);
        kinds
            .filter_map(|kind| match kind {
                RouteKind::Tunnel { source } => Some(source),
                _ => None,
            })
            .collect()
    };
    let some = |text: &str| Some(text.parse::<IpAddr>().unwrap());
    let mut host = Host::new();
    assert_eq!(
        source(&host, &[]),
        [some("10.1.0.2"), some("2001:db8:1::2")]
    );
    assert_eq!(
        source(&host, &["10.1.0.0/16", "2001:db8:1::/64"]),
        [some("10.0.9.1"), some("fd12::1")]
    );
    assert_eq!(source(&host, &["0.0.0.0/0"])[0], None);
    (host.links.default_v4, host.links.default_v6) = (None, None);
    assert_eq!(source(&host, &[])[0], some("10.0.9.1"));
}

#[test]
fn same_zone_stays_native_but_for_mesh_addresses() {
    let mut host = Host::new();
    host.native = parse(&["10.1.0.3/32", "10.244.7.0/24"])
        .into_iter()
        .collect();
    host.same_zone_mesh = parse(&["fd12::3"]);
    host.protected = parse(&["10.244.0.0/16", "10.244.7.0/24"]);
    let state = host.plan(&[]);
    for (address, verdict) in [
        ("10.1.0.3", ExplainVerdict::Native),
        ("10.244.7.9", ExplainVerdict::Native),
        ("10.244.8.9", ExplainVerdict::Unreachable),
        ("fd12::3", ExplainVerdict::Unreachable),
        ("fd12::ffff", ExplainVerdict::Unreachable),
        ("fd12::1", ExplainVerdict::Local),
        ("10.244.1.5", ExplainVerdict::Native),
        ("192.0.2.1", ExplainVerdict::Native),
    ] {
        assert_eq!(
            lookup(&state, address.parse().unwrap()).verdict,
            verdict,
            "{address}"
        );
    }
    assert!(routes(&state).contains(&"unreachable fd12::3/128 metric 20".to_owned()));
    assert!(!routes(&state).contains(&"unreachable 10.244.7.0/24 metric 20".to_owned()));
}

#[test]
fn a_bypassed_peer_falls_back_unless_protected() {
    let mut host = Host::new();
    host.protected = parse(&["10.244.0.0/16"]);
    let prefixes = parse(&["10.2.0.2/32", "10.244.2.0/24", "fd12::2/128"]);
    let verdicts = |bypassed| {
        let peer = TunnelRoutes {
            prefixes: &prefixes,
            exclude: &[],
            bypassed,
        };
        let state = host.plan(&[peer]);
        ["10.2.0.2", "10.244.2.9", "fd12::2"]
            .map(|address| lookup(&state, address.parse().unwrap()).verdict)
    };
    use ExplainVerdict::{Native, Tunnel, Unreachable};
    assert_eq!(verdicts(false), [Tunnel, Tunnel, Tunnel]);
    assert_eq!(verdicts(true), [Native, Unreachable, Tunnel]);
}

#[test]
fn protected_parts_of_a_peers_prefix_do_not_hide_the_peer() {
    let mut host = Host::new();
    host.protected = parse(&["10.244.2.0/25", "10.7.0.0/16"]);
    let (served, exit) = (parse(&["10.244.2.0/24"]), parse(&["0.0.0.0/0"]));
    let peer = |prefixes| TunnelRoutes {
        prefixes,
        exclude: &[],
        bypassed: false,
    };
    let state = host.plan(&[peer(&served), peer(&exit)]);
    let verdict = |address: &str| lookup(&state, address.parse().unwrap()).verdict;
    assert_eq!(verdict("10.244.2.1"), ExplainVerdict::Tunnel);
    assert_eq!(verdict("10.7.0.1"), ExplainVerdict::Unreachable);
    assert_eq!(verdict("192.0.2.1"), ExplainVerdict::Tunnel);
    assert_eq!(verdict("10.1.0.99"), ExplainVerdict::Native);
}

#[test]
fn rules_of_bypasses_and_discovery_servers() {
    let mut host = Host::new();
    let bypass = |protocol, port| Bypass { protocol, port };
    host.settings.bypass = vec![bypass(IpProtocol::Tcp, 7400), bypass(IpProtocol::Tcp, 22)];
    host.discovery = parse(&[
        "192.0.2.9:7400",
        "[2001:db8::9]:7400",
        "[::ffff:192.0.2.9]:7400",
    ]);
    let state = host.plan(&[]);
    let last = [
        "501: ipproto tcp sport 22 lookup main",
        "501: ipproto tcp sport 7400 lookup main",
        "502: ipproto udp sport 51840 lookup main",
        "503: not fwmark 0x1000/0x1000 lookup 5184",
    ];
    let v4 = rules(&state, Family::V4);
    assert_eq!(
        v4[0],
        "500: to 192.0.2.9 ipproto tcp dport 7400 lookup main"
    );
    assert_eq!(v4[1..], last);
    let v6 = rules(&state, Family::V6);
    assert_eq!(
        v6[0],
        "500: to 2001:db8::9 ipproto tcp dport 7400 lookup main"
    );
    assert_eq!(v6[1..], last);
    let found = lookup(&state, "192.0.2.9".parse().unwrap());
    assert_eq!(found.exceptions.len(), 4);
    assert_eq!(
        lookup(&state, "192.0.2.8".parse().unwrap())
            .exceptions
            .len(),
        3
    );

    host.discovery = (0..200)
        .map(|low| SocketAddr::from(([192, 0, 2, low], 1)))
        .collect();
    let bounded = host.plan(&[]).rules.len();
    assert_eq!(bounded, MAX_DISCOVERY_RULES + 8);
}

#[test]
fn explain_names_rule_and_route() {
    let prefixes = parse(&["10.2.0.0/16"]);
    let peer = TunnelRoutes {
        prefixes: &prefixes,
        exclude: &[],
        bypassed: false,
    };
    let mut state = Host::new().plan(&[peer]);
    let address: IpAddr = "10.2.3.4".parse().unwrap();
    let found = lookup(&state, address);
    assert_eq!(found.rule.unwrap().priority, 503);
    assert_eq!(
        found.route.unwrap().to_string(),
        "10.2.0.0/16 dev tunnel metric 10 src 10.1.0.2"
    );
    let native = lookup(&state, "192.0.2.1".parse().unwrap());
    assert_eq!((native.rule, native.route), (None, None));
    let thrown = lookup(&state, "10.1.0.9".parse().unwrap());
    assert_eq!(thrown.verdict, ExplainVerdict::Native);
    assert_eq!(thrown.route.unwrap().kind, RouteKind::Throw);
    // The interface is gone: its routes with it.
    state.routes.retain(|route| route.metric != METRIC_TUNNEL);
    assert_eq!(lookup(&state, address).verdict, ExplainVerdict::Unreachable);
}
