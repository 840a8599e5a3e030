//! Facts that become problems.

use super::namespace::{connect, in_namespace, ip, netlink, sysctl, uplink};

#[test]
fn forwarding_is_read_per_family() {
    in_namespace(|| async {
        let netlink = netlink().await;
        for (v4, v6) in [("0", "1"), ("1", "0")] {
            sysctl("ipv4/ip_forward", v4);
            sysctl("ipv6/conf/all/forwarding", v6);
            let facts = netlink.read_facts().await;
            assert_eq!(facts.forwarding_v4_off, v4 == "0");
            assert_eq!(facts.forwarding_v6_off, v6 == "0");
        }
    });
}

#[test]
fn strict_filters_matter_on_second_uplinks_only() {
    in_namespace(|| async {
        sysctl("ipv4/conf/all/rp_filter", "1");
        uplink();
        connect("eth1", "far1");
        ip("address add 10.3.0.1/24 dev eth1");
        let netlink = netlink().await;
        let strict = async || netlink.read_facts().await.rp_filter;
        assert_eq!(strict().await, Vec::<String>::new(), "a LAN");
        ip("route add default via 10.3.0.254 metric 100");
        assert_eq!(strict().await, ["eth1"]);
        ip("rule add from 10.3.0.1 lookup 33");
        ip("route add default via 10.3.0.254 table 33");
        assert_eq!(strict().await, Vec::<String>::new(), "routed by source");
        ip("rule delete from 10.3.0.1");
        assert_eq!(strict().await, ["eth1"]);
        sysctl("ipv4/conf/eth1/rp_filter", "2");
        assert_eq!(strict().await, Vec::<String>::new(), "loose");
    });
}
