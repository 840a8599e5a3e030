//! Reconciling: exactness, idempotence, and keeping hands off what is not ours.

use std::net::IpAddr;

use meshd_core::network::{
    Family, IpProtocol, NetworkState, Route, RouteKind, Rule, RuleSelector, TABLE_MAIN,
};

use super::namespace::{close, in_namespace, ip, netlink, sysctl, uplink};
use crate::linux::tun::Tun;

pub(super) const MESH_ADDRESS: &str = "fd5e:1::1";

pub(super) fn route(prefix: &str, metric: u32, kind: RouteKind) -> Route {
    Route {
        prefix: prefix.parse().unwrap(),
        metric,
        kind,
    }
}

pub(super) fn tunnel(source: &str) -> RouteKind {
    RouteKind::Tunnel {
        source: Some(source.parse().unwrap()),
    }
}

/// One of everything that the core can ask for.
pub(super) fn desired() -> NetworkState {
    let unreachable = RouteKind::Unreachable;
    let any_source = RouteKind::Tunnel { source: None };
    NetworkState {
        addresses: [format!("{MESH_ADDRESS}/128").parse().unwrap()].into(),
        mtu: 1420,
        routes: [
            route("10.2.0.1/32", 10, tunnel("10.1.0.1")),
            route("10.2.0.1/32", 20, unreachable),
            route("10.244.2.0/24", 10, any_source),
            route("10.244.2.0/24", 20, unreachable),
            route("10.1.0.0/24", 5, RouteKind::Throw),
            route("0.0.0.0/0", 10, tunnel("10.1.0.1")),
            route("192.0.2.0/24", 0, unreachable),
            route("fd5e:1::2/128", 10, tunnel(MESH_ADDRESS)),
            route("fd5e:1::2/128", 20, unreachable),
            route("fd02::/64", 10, tunnel("fd01::1")),
            route("fd02::/64", 20, unreachable),
            route("fd01::/64", 5, RouteKind::Throw),
            route("::/0", 10, any_source),
            route("fd03::/64", 1024, unreachable),
        ]
        .into(),
        rules: [Family::V4, Family::V6]
            .into_iter()
            .flat_map(rules)
            .collect(),
    }
}

fn rules(family: Family) -> [Rule; 4] {
    let server: IpAddr = match family {
        Family::V4 => "203.0.113.9".parse().unwrap(),
        Family::V6 => "2001:db8::9".parse().unwrap(),
    };
    let rule = |priority, selector, table| Rule {
        family,
        priority,
        selector,
        table,
    };
    [
        rule(
            500,
            RuleSelector::Destination {
                address: server,
                protocol: IpProtocol::Tcp,
                port: 7400,
            },
            TABLE_MAIN,
        ),
        rule(
            501,
            RuleSelector::SourcePort {
                protocol: IpProtocol::Tcp,
                port: 22,
            },
            TABLE_MAIN,
        ),
        rule(
            502,
            RuleSelector::SourcePort {
                protocol: IpProtocol::Udp,
                port: 51840,
            },
            TABLE_MAIN,
        ),
        rule(
            503,
            RuleSelector::NotMark {
                mark: 0x1000,
                mask: 0x1000,
            },
            5184,
        ),
    ]
}

#[test]
fn a_second_reconcile_has_nothing_to_do() {
    in_namespace(|| async {
        uplink();
        let _tun = Tun::open("mesh0", 0).unwrap();
        let netlink = netlink().await;
        let first = netlink.reconcile(&desired()).await;
        assert_eq!((first.errors, first.conflict), (Vec::new(), None));
        assert!(first.applied >= desired().routes.len() + desired().rules.len());
        assert_eq!(netlink.observe().await.unwrap(), desired());
        assert_eq!(netlink.reconcile(&desired()).await, Default::default());

        let link = ip("-details -oneline link show mesh0");
        for expected in [",UP", "mtu 1420", "qlen 1000", "addrgenmode none"] {
            assert!(link.contains(expected), "{expected} in {link}");
        }
        assert_eq!(ip("-6 address show dev mesh0 scope link"), "");
        assert_eq!(ip("-4 route show table main dev mesh0"), "");
        assert_eq!(ip("-6 route show table main dev mesh0"), "");
        let routes = ip("route show table 5184");
        assert!(routes.contains("10.2.0.1 dev mesh0 proto 84 scope link src 10.1.0.1 metric 10"));
        assert!(routes.contains("throw 10.1.0.0/24 proto 84 metric 5"));
        let rules = ip("-6 rule show");
        assert!(rules.contains("502:\tfrom all ipproto udp sport 51840 lookup main proto 84"));
        assert!(rules.contains("503:\tnot from all fwmark 0x1000/0x1000 lookup 5184 proto 84"));
    });
}

#[test]
fn what_somebody_removed_is_healed_and_nothing_else_changes() {
    in_namespace(|| async {
        uplink();
        let _tun = Tun::open("mesh0", 0).unwrap();
        let netlink = netlink().await;
        netlink.reconcile(&desired()).await;
        ip("route delete 10.2.0.1 table 5184 metric 10");
        ip("-6 rule delete priority 503");
        ip("address delete fd5e:1::1/128 dev mesh0");
        assert_ne!(netlink.observe().await.unwrap(), desired());
        let report = netlink.reconcile(&desired()).await;
        assert_eq!(report.errors, Vec::<String>::new());
        assert_eq!(netlink.observe().await.unwrap(), desired());
        ip("link set mesh0 down");
        netlink.reconcile(&desired()).await;
        assert_eq!(netlink.observe().await.unwrap(), desired());
    });
}

#[test]
fn a_changed_route_is_replaced_in_place() {
    in_namespace(|| async {
        uplink();
        ip("address add 10.1.0.2/24 dev eth0");
        let _tun = Tun::open("mesh0", 0).unwrap();
        let netlink = netlink().await;
        netlink.reconcile(&desired()).await;
        let mut changed = desired();
        for (prefix, before, after) in [
            ("10.2.0.1/32", tunnel("10.1.0.1"), tunnel("10.1.0.2")),
            ("fd02::/64", tunnel("fd01::1"), tunnel(MESH_ADDRESS)),
            ("::/0", RouteKind::Tunnel { source: None }, RouteKind::Throw),
        ] {
            assert!(changed.routes.remove(&route(prefix, 10, before)));
            changed.routes.insert(route(prefix, 10, after));
        }
        let report = netlink.reconcile(&changed).await;
        assert_eq!((report.applied, report.errors), (3, Vec::new()));
        assert_eq!(netlink.observe().await.unwrap(), changed);
    });
}

#[test]
fn what_is_not_ours_stays_and_is_reported() {
    in_namespace(|| async {
        uplink();
        let _tun = Tun::open("mesh0", 0).unwrap();
        ip("route add 10.77.0.0/16 via 10.1.0.254 table 5184");
        // Same prefix and metric as one that we want.
        ip("route add 10.244.2.0/24 via 10.1.0.254 metric 10 proto static table 5184");
        ip("rule add priority 501 from 10.66.0.0/16 lookup 66");
        ip("rule add priority 77 fwmark 7 lookup 77 protocol 84");
        let routes = ip("route show table 5184");
        let rules = ip("rule show");
        let netlink = netlink().await;
        let report = netlink.reconcile(&desired()).await;
        assert_eq!(report.errors, Vec::<String>::new());
        assert!(report.conflict.is_some());
        let again = netlink.reconcile(&desired()).await;
        assert_eq!(again.applied, 0);

        netlink.reconcile(&NetworkState::default()).await;
        assert_eq!(ip("route show table 5184"), routes);
        assert_eq!(ip("rule show"), rules);
        assert!(netlink.read_facts().await.routing_conflict.is_some());
    });
}

#[test]
fn remains_of_another_version_are_removed() {
    in_namespace(|| async {
        uplink();
        let _tun = Tun::open("mesh0", 0).unwrap();
        ip("route add 10.2.0.1/32 via 10.1.0.254 metric 10 table 5184 proto 84");
        ip("route add blackhole 10.78.0.0/16 table 5184 proto 84");
        ip("-6 route add fd09::/64 via fd01::254 table 5184 proto 84");
        ip("rule add priority 501 from 10.66.0.0/16 lookup main protocol 84");
        ip("-6 rule add priority 9 iif lo lookup 5184 protocol 84");
        let netlink = netlink().await;
        let report = netlink.reconcile(&desired()).await;
        assert_eq!((report.errors, report.conflict), (Vec::new(), None));
        assert_eq!(netlink.observe().await.unwrap(), desired());
        assert_eq!(netlink.reconcile(&desired()).await.applied, 0);
        let left = ip("rule show") + &ip("-6 rule show") + &ip("route show table 5184");
        assert!(!left.contains("10.66.0.0") && !left.contains("iif lo") && !left.contains("via"));
    });
}

#[test]
fn without_the_interface_traffic_is_refused_not_leaked() {
    in_namespace(|| async {
        uplink();
        let netlink = netlink().await;
        let report = netlink.reconcile(&desired()).await;
        assert_eq!(report.errors.len(), 1, "{:?}", report.errors);
        assert!(report.errors[0].contains("mesh0 does not exist"));
        let get = std::process::Command::new("ip")
            .args(["route", "get", "10.2.0.1"])
            .output()
            .unwrap();
        assert!(
            !get.status.success(),
            "unreachable, not by the default route"
        );

        let _tun = Tun::open("mesh0", 0).unwrap();
        let report = netlink.reconcile(&desired()).await;
        assert_eq!(report.errors, Vec::<String>::new());
        assert!(ip("route get 10.2.0.1").contains("dev mesh0"));
        assert!(ip("route get 10.2.0.1 mark 0x1000").contains("via 10.1.0.254"));
        assert!(ip("route get 10.1.0.9").contains("dev eth0"), "thrown back");
    });
}

#[test]
fn after_kill_9_traffic_is_refused_not_leaked() {
    in_namespace(|| async {
        uplink();
        let tun = Tun::open("mesh0", 0).unwrap();
        let netlink = netlink().await;
        netlink.reconcile(&desired()).await;
        // What the kernel does with the descriptors of a dead process.
        close(tun);
        let left = netlink.observe().await.unwrap();
        assert_eq!(left.rules, desired().rules);
        let survivors: Vec<Route> = desired()
            .routes
            .into_iter()
            .filter(|route| !matches!(route.kind, RouteKind::Tunnel { .. }))
            .collect();
        assert_eq!(left.routes.into_iter().collect::<Vec<_>>(), survivors);
        assert!(left.addresses.is_empty());

        let _tun = Tun::open("mesh0", 0).unwrap();
        netlink.reconcile(&desired()).await;
        assert_eq!(netlink.observe().await.unwrap(), desired());
    });
}

#[test]
fn disabled_ipv6_is_one_error_and_ipv4_works() {
    in_namespace(|| async {
        uplink();
        sysctl("ipv6/conf/all/disable_ipv6", "1");
        sysctl("ipv6/conf/default/disable_ipv6", "1");
        let _tun = Tun::open("mesh0", 0).unwrap();
        let netlink = netlink().await;
        let report = netlink.reconcile(&desired()).await;
        assert_eq!(report.errors.len(), 1, "{:?}", report.errors);
        assert!(report.errors[0].contains("IPv6 is disabled"));
        let is_v4 = |route: &&Route| route.prefix.addr().is_ipv4();
        let observed = netlink.observe().await.unwrap();
        assert!(
            observed
                .routes
                .iter()
                .filter(is_v4)
                .eq(desired().routes.iter().filter(is_v4))
        );
    });
}
