//! The lab itself, without the daemons under test: if these fail, nothing else it says counts.

#![cfg(test)]

use std::net::{IpAddr, SocketAddrV4};
use std::path::Path;
use std::time::Duration;

use mesh_tests::lab::capture::Capture;
use mesh_tests::lab::classify::Kind;
use mesh_tests::lab::network::{BACKBONE, Network, router_name};
use mesh_tests::lab::ping::{Ping, Stream, run_all};
use mesh_tests::lab::plan::DISCOVERY_ADDRESS;
use mesh_tests::lab::process::Daemon;
use mesh_tests::lab::snapshot::Snapshot;
use mesh_tests::lab::{Plan, requirements};

const MARKER: [u8; 16] = *b"seen-in-the-open";

fn build(plan: &Plan) -> Network {
    Network::build(plan, Path::new("/nonexistent")).expect("the lab builds")
}

#[test]
fn sites_are_joined_as_planned_and_the_host_untouched() {
    if !requirements::met() {
        return;
    }
    let before = Snapshot::of_host().unwrap();
    let plan = Plan::new(3, 2).unwrap();
    let network = build(&plan);
    let machine = |name: &str| network.machine(name).unwrap();
    let capture = Capture::start(machine(BACKBONE)).unwrap();
    let ping = |from: &str, to: IpAddr| Ping {
        marker: Some(MARKER),
        ..Ping::quick(machine(from), to)
    };
    let node = |name: &str| plan.node(name).unwrap();
    let (b1, b1_pod) = (node("b1").address, node("b1").pod_address());
    let a2_pod = node("a2").pod_address();
    let c1 = node("c1");
    let reach = [
        ping("a1", b1.into()),
        ping("a1-pod", b1_pod.into()),
        ping("a1-pod", a2_pod.into()),
        ping("c1", b1.into()),
        ping("c1-pod", DISCOVERY_ADDRESS.into()),
        ping("a1", DISCOVERY_ADDRESS.into()),
        ping("b2-pod", DISCOVERY_ADDRESS.into()),
    ];
    for (ping, score) in reach.iter().zip(run_all(&reach)) {
        assert!(
            score.unwrap().perfect(),
            "{} -> {}",
            ping.from.name(),
            ping.to
        );
    }
    let hidden = [
        ping("a1", c1.address.into()),
        ping("b1-pod", c1.pod_address().into()),
    ];
    for score in run_all(&hidden) {
        assert_eq!(score.unwrap().received, 0, "NAT lets nobody in");
    }
    let frames = capture.finish().unwrap();
    assert_eq!(frames.lost, 0);
    assert!(
        frames.containing(&MARKER).count() > 0,
        "a leak would be seen"
    );
    assert!(frames.foreign(plan.discovery_address()).count() > 0);
    let router = "ra";
    assert!(
        frames
            .frames
            .iter()
            .any(|frame| &*frame.interface == router)
    );

    drop(network);
    assert_eq!(
        Snapshot::of_host().unwrap().changes_since(&before),
        Vec::<String>::new()
    );
}

#[test]
fn streams_count_losses() {
    if !requirements::met() {
        return;
    }
    let plan = Plan::new(2, 1).unwrap();
    let network = build(&plan);
    let to = plan.node("b1").unwrap().address.into();
    let ping = Ping {
        interval: Duration::from_millis(20),
        ..Ping::quick(network.machine("a1").unwrap(), to)
    };
    let clean = Stream::start(&ping).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert!(clean.finish().unwrap().perfect());

    let broken = Stream::start(&ping).unwrap();
    let router = network.machine(&router_name("b")).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    router.script("ip link set wan down").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    router
        .script("ip link set wan up; ip route replace default via 198.51.100.1")
        .unwrap();
    assert!(!broken.finish().unwrap().perfect());
}

#[test]
fn stock_wireguard_is_recognised_on_the_backbone() {
    if !requirements::met() {
        return;
    }
    let plan = Plan::new(2, 1).unwrap();
    let network = build(&plan);
    let keys: Vec<_> = (0..2)
        .map(|_| {
            network
                .machine("a1")
                .unwrap()
                .run("wg", &["genkey"])
                .unwrap()
        })
        .collect();
    let mut daemons = Vec::new();
    for (index, (name, other)) in [("a1", "b1"), ("b1", "a1")].into_iter().enumerate() {
        let machine = network.machine(name).unwrap();
        let mut command = machine.command("wireguard-go");
        command.args(["-f", "wg0"]).env("LOG_LEVEL", "error");
        daemons.push(Daemon::spawn("wireguard-go", command).unwrap());
        let address = plan.node(other).unwrap().address;
        machine
            .script(&format!(
                "for i in $(seq 50); do [ -S /run/wireguard/wg0.sock ] && break; sleep 0.1; done
                 echo '{}' > /run/private
                 peer=$(echo '{}' | wg pubkey)
                 wg set wg0 private-key /run/private listen-port 51840 \
                   peer $peer allowed-ips 10.99.0.0/24 endpoint {address}:51840
                 ip address add 10.99.0.{}/24 dev wg0
                 ip link set wg0 up",
                keys[index].trim(),
                keys[1 - index].trim(),
                index + 1
            ))
            .unwrap();
    }
    let capture = Capture::start(network.machine(BACKBONE).unwrap()).unwrap();
    let ping = Ping {
        marker: Some(MARKER),
        ..Ping::quick(network.machine("a1").unwrap(), [10, 99, 0, 2].into())
    };
    assert!(ping.run().unwrap().perfect());
    let frames = capture.finish().unwrap();
    let counts = frames.count(SocketAddrV4::new(DISCOVERY_ADDRESS, 7400));
    assert!(
        counts[&Kind::Handshake] > 0 && counts[&Kind::Data] > 0,
        "{counts:?}"
    );
    assert_eq!(counts.get(&Kind::Foreign), None, "{counts:?}");
    assert_eq!(frames.containing(&MARKER).count(), 0);
}
