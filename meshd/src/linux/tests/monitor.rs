//! Noticing changes.

use std::time::Duration;

use meshd_core::network::NetworkState;
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

use super::namespace::{in_namespace, ip, netlink, uplink};
use super::reconcile::desired;
use crate::linux::NetworkChanged;

/// Only so that a failing test ends.
const PATIENCE: Duration = Duration::from_secs(30);

async fn next(changes: &mut Receiver<NetworkChanged>) -> NetworkChanged {
    timeout(PATIENCE, changes.recv()).await.unwrap().unwrap()
}

#[test]
fn changes_of_others_are_reported() {
    in_namespace(|| async {
        uplink();
        let netlink = netlink().await;
        let mut changes = netlink.monitor().unwrap();
        for (command, expected) in [
            ("link set far0 mtu 1400", "links"),
            ("address add 10.1.0.9/24 dev eth0", "addresses"),
            ("-6 address add fd01::9/64 dev eth0 nodad", "addresses"),
            ("route add 10.80.0.0/16 via 10.1.0.254 table 5184", "routes"),
            ("-6 route add fd80::/64 via fd01::254", "routes"),
            ("rule add priority 70 lookup 70", "rules"),
            ("-6 rule delete priority 32766", "rules"),
        ] {
            ip(command);
            loop {
                let changed = next(&mut changes).await;
                assert!(!changed.lost);
                let seen = match expected {
                    "links" => changed.links,
                    "addresses" => changed.addresses,
                    "routes" => changed.routes,
                    _ => changed.rules,
                };
                if seen {
                    break;
                }
            }
        }
    });
}

#[test]
fn own_rules_and_routes_are_not_reported() {
    in_namespace(|| async {
        uplink();
        let netlink = netlink().await;
        let mut changes = netlink.monitor().unwrap();
        netlink.reconcile(&desired()).await;
        netlink.reconcile(&NetworkState::default()).await;
        ip("link set far0 mtu 1400");
        let changed = next(&mut changes).await;
        assert!(
            changed.links && !changed.rules && !changed.routes,
            "{changed:?}"
        );
    });
}

#[test]
fn a_slow_listener_still_learns_of_the_last_change() {
    in_namespace(|| async {
        uplink();
        let netlink = netlink().await;
        let mut changes = netlink.monitor().unwrap();
        // The runtime has one thread: nothing is read meanwhile, and the socket overflows.
        let batch: String = (0..20_000)
            .map(|n| {
                format!(
                    "route add 10.{}.{}.{}/32 dev eth0\n",
                    100 + n / 10_000,
                    n / 100 % 100,
                    n % 100
                )
            })
            .collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), batch).unwrap();
        ip(&format!("-batch {}", file.path().display()));
        ip("rule add priority 70 lookup 70");
        loop {
            let changed = next(&mut changes).await;
            if changed.rules {
                assert!(changed.lost, "the burst was larger than the buffer");
                break;
            }
        }
    });
}
