//! Reading the host's links.

use ipnet::IpNet;
use meshd_core::links::{Link, LinkAddress, LinkRoute, MAX_LINK_ROUTES};

use super::namespace::{connect, in_namespace, ip, netlink, uplink};
use crate::linux::tun::Tun;

fn find<'a>(links: &'a [Link], name: &str) -> &'a Link {
    links.iter().find(|link| link.name == name).unwrap()
}

fn nets(prefixes: &[&str]) -> Vec<IpNet> {
    prefixes.iter().map(|net| net.parse().unwrap()).collect()
}

fn index(name: &str) -> u32 {
    let shown = ip(&format!("-oneline link show {name}"));
    shown.split(':').next().unwrap().parse().unwrap()
}

#[test]
fn links_and_addresses_are_read() {
    in_namespace(|| async {
        uplink();
        let _tun = Tun::open("mesh0", 0).unwrap();
        ip("link add br0 mtu 1450 type bridge");
        ip("address add 169.254.7.7/16 dev eth0 scope link");
        ip("address add 10.1.0.2/24 dev eth0");
        ip("address add fd01::2/64 dev eth0 nodad preferred_lft 0");
        let links = netlink().await.read_links().await.unwrap().links;
        let names: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
        assert!(links.is_sorted_by_key(|link| link.index));
        assert!(
            !names.contains(&"lo") && !names.contains(&"mesh0"),
            "{names:?}"
        );
        let bridge = find(&links, "br0");
        assert_eq!((bridge.kind.as_deref(), bridge.up), (Some("bridge"), false));
        assert_eq!((bridge.mtu, bridge.index), (1450, index("br0")));
        let eth0 = find(&links, "eth0");
        assert_eq!((eth0.kind.as_deref(), eth0.up), (Some("veth"), true));
        let address = |address: &str| {
            let address: IpNet = address.parse().unwrap();
            let found = eth0.addresses.iter().find(|own| own.address == address);
            *found.unwrap_or_else(|| panic!("{address} in {:?}", eth0.addresses))
        };
        let plain = |net: &str| LinkAddress {
            address: net.parse().unwrap(),
            global: true,
            temporary: false,
            unusable: false,
        };
        assert_eq!(address("10.1.0.1/24"), plain("10.1.0.1/24"));
        assert_eq!(address("10.1.0.2/24"), plain("10.1.0.2/24"));
        assert_eq!(address("fd01::1/64"), plain("fd01::1/64"));
        assert!(address("fd01::2/64").unusable);
        assert!(!address("169.254.7.7/16").global);
    });
}

#[test]
fn a_link_without_carrier_is_not_up() {
    in_namespace(|| async {
        uplink();
        ip("link set far0 down");
        let links = netlink().await.read_links().await.unwrap().links;
        assert!(!find(&links, "eth0").up);
    });
}

#[test]
fn routes_of_the_main_table_are_sorted_out() {
    in_namespace(|| async {
        uplink();
        let _tun = Tun::open("mesh0", 0).unwrap();
        ip("link set mesh0 up");
        ip("address add 10.50.0.1/24 dev mesh0");
        ip("route add 10.244.1.5/32 dev eth0");
        ip("route add 10.88.0.0/16 via 10.1.0.254");
        ip("route add 10.89.0.0/16 dev mesh0 table 99");
        ip("route add 10.99.0.0/16 dev mesh0");
        ip("route add unreachable 10.90.0.0/16");
        ip("-6 route add fd77::/64 dev eth0");
        ip("-6 route add fd88::/64 via fd01::254");
        ip("-6 route add fd99::/64 dev mesh0");
        let snapshot = netlink().await.read_links().await.unwrap();
        let expected = ["10.1.0.0/24", "10.244.1.5/32", "fd01::/64", "fd77::/64"];
        assert_eq!(snapshot.on_link, nets(&expected));
        assert_eq!(snapshot.via_tunnel, nets(&["10.99.0.0/16", "fd99::/64"]));
    });
}

#[test]
fn the_best_default_route_outside_the_tunnel_counts() {
    in_namespace(|| async {
        uplink();
        let netlink = netlink().await;
        let snapshot = netlink.read_links().await.unwrap();
        assert_eq!(snapshot.default_v4, Some(index("eth0")));
        assert_eq!(snapshot.default_v6, Some(index("eth0")));
        connect("eth1", "far1");
        ip("address add 10.3.0.1/24 dev eth1");
        ip("route replace default via 10.1.0.254 metric 200");
        ip("route delete default metric 0");
        ip("route add default metric 100 nexthop via 10.3.0.254 nexthop via 10.1.0.253");
        ip("-6 route delete default");
        let _tun = Tun::open("mesh0", 0).unwrap();
        ip("link set mesh0 up");
        ip("route add default dev mesh0 metric 1");
        let snapshot = netlink.read_links().await.unwrap();
        assert_eq!(snapshot.default_v4, Some(index("eth1")));
        assert_eq!(snapshot.default_v6, None);
    });
}

#[test]
fn routes_are_known_by_their_links_and_sources_by_their_rules() {
    in_namespace(|| async {
        uplink();
        connect("eth1", "far1");
        ip("address add 10.3.0.1/24 dev eth1");
        ip("route add 10.88.0.0/16 via 10.3.0.254");
        ip("route add default via 10.3.0.254 metric 500");
        ip("route add unreachable 10.90.0.0/16");
        ip("rule add from 10.3.0.0/24 lookup 77");
        ip("rule add from 10.9.0.0/24 prohibit");
        ip("-6 rule add from fd03::/64 lookup 77");
        let _tun = Tun::open("mesh0", 0).unwrap();
        ip("link set mesh0 up");
        ip("route add 10.99.0.0/16 dev mesh0");
        let snapshot = netlink().await.read_links().await.unwrap();
        assert_eq!(snapshot.ruled_sources, nets(&["10.3.0.0/24", "fd03::/64"]));
        let has = |prefix: &str, link: &str| {
            let prefix: IpNet = prefix.parse().unwrap();
            let link = index(link);
            let same = |route: &&LinkRoute| route.prefix == prefix && route.link == link;
            snapshot.routes.iter().filter(same).count() == 1
        };
        assert!(has("10.3.0.0/24", "eth1") && has("10.88.0.0/16", "eth1"));
        assert!(has("0.0.0.0/0", "eth0") && has("0.0.0.0/0", "eth1"));
        assert!(has("::/0", "eth0") && has("10.1.0.0/24", "eth0"));
        assert!(!has("10.99.0.0/16", "mesh0") && snapshot.routes.is_sorted());
        let refused: IpNet = "10.90.0.0/16".parse().unwrap();
        assert!(snapshot.routes.iter().all(|route| route.prefix != refused));
    });
}

#[test]
fn a_host_with_many_routes_keeps_the_widest() {
    in_namespace(|| async {
        uplink();
        let lines: Vec<String> = (0..1100)
            .map(|n| format!("route add 100.64.{}.{}/32 via 10.1.0.254", n / 256, n % 256))
            .collect();
        let batch = std::env::temp_dir().join(format!("meshd-routes-{}", std::process::id()));
        std::fs::write(&batch, lines.join("\n")).unwrap();
        ip(&format!("-batch {}", batch.display()));
        std::fs::remove_file(&batch).unwrap();
        let snapshot = netlink().await.read_links().await.unwrap();
        assert_eq!(snapshot.routes.len(), MAX_LINK_ROUTES);
        let default: IpNet = "0.0.0.0/0".parse().unwrap();
        assert!(snapshot.routes.iter().any(|route| route.prefix == default));
    });
}
