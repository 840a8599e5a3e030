//! Cleaning up, also after a process that could not.

use super::namespace::{close, configuration, in_namespace, ip, netlink, ownership, uplink};
use super::reconcile::desired;
use crate::linux::tun::Tun;
use crate::linux::{Netlink, Ownership};

#[test]
fn nothing_is_left() {
    in_namespace(|| async {
        uplink();
        ip("route add 10.77.0.0/16 via 10.1.0.254 table 5184");
        ip("rule add priority 77 fwmark 7 lookup 77 protocol 84");
        let before = configuration();
        let netlink = netlink().await;
        let tun = Tun::open("mesh0", 0).unwrap();
        netlink.reconcile(&desired()).await;
        let report = netlink.cleanup().await;
        assert_eq!(report.errors, Vec::<String>::new());
        let expected = desired().routes.len() + desired().rules.len() + 1;
        assert_eq!(report.removed.len(), expected, "{:#?}", report.removed);
        assert_eq!(configuration(), before);
        drop(tun);
        assert_eq!(netlink.cleanup().await, Default::default());
    });
}

#[test]
fn remains_of_a_dead_process_are_found() {
    in_namespace(|| async {
        uplink();
        let before = configuration();
        {
            let netlink = netlink().await;
            let tun = Tun::open("mesh0", 0).unwrap();
            netlink.reconcile(&desired()).await;
            close(tun);
        }
        assert_ne!(configuration(), before);
        let report = netlink().await.cleanup().await;
        assert_eq!(report.errors, Vec::<String>::new());
        assert!(!report.removed.is_empty());
        assert_eq!(configuration(), before);
    });
}

#[test]
fn the_interface_stays_when_only_rules_and_routes_go() {
    in_namespace(|| async {
        uplink();
        let netlink = netlink().await;
        let _tun = Tun::open("mesh0", 0).unwrap();
        netlink.reconcile(&desired()).await;
        netlink.remove_rules_and_routes().await;
        let left = netlink.observe().await.unwrap();
        assert!(left.routes.is_empty() && left.rules.is_empty());
        assert_eq!(left.addresses, desired().addresses);
    });
}

#[test]
fn a_mistyped_interface_name_does_not_cost_a_network_card() {
    in_namespace(|| async {
        uplink();
        let before = configuration();
        let netlink = Netlink::open(Ownership {
            interface: "eth0".to_owned(),
            ..ownership()
        })
        .await
        .unwrap();
        let report = netlink.reconcile(&desired()).await;
        assert!(report.conflict.is_some_and(|text| text.contains("eth0")));
        let report = netlink.cleanup().await;
        assert_eq!(report.errors.len(), 1);
        assert_eq!(configuration(), before);
    });
}
