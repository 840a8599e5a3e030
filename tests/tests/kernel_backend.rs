//! The kernel backend on a real kernel. The tests themselves are marked as ignored: the last one, which
//! is not, runs them in the virtual machine, whose kernel has WireGuard.
//!
//! Time is emulated there: bounds are generous, and nothing here is about speed.

#![cfg(test)]

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use mesh_proto::record::BackendKind;
use mesh_tests::lab::capture::Capture;
use mesh_tests::lab::fixture::{Fixture, PATIENCE};
use mesh_tests::lab::network::BACKBONE;
use mesh_tests::lab::ping::{Ping, Stream};
use mesh_tests::lab::{Lab, Plan, meshctl, wait};
use mesh_tests::vm::run_ignored_tests;
use nix::sys::signal::Signal;
use serde_json::json;

const MARKER: [u8; 16] = *b"kernel-in-clear!";
/// A second address of b1.
const OTHER: &str = "10.2.0.111";
/// What a1 must not dial.
const REFUSED: &str = "198.51.100.66:51840";
/// A deleted interface is made again, and traffic passes.
const HEALED_WITHIN: Duration = Duration::from_secs(10);
/// All tests of this file in the machine.
const WITHIN: Duration = Duration::from_secs(1100);

/// Two zones of one node each, with the kernel's WireGuard, all up.
fn kernel_pair(change: impl FnOnce(&mut Plan)) -> Option<Fixture> {
    let mut plan = Plan::new(2, 1).unwrap();
    for name in ["a1", "b1"] {
        plan.node_mut(name).unwrap().settings = json!({ "wireguard": { "backend": "kernel" } });
    }
    change(&mut plan);
    Fixture::running(plan)
}

fn wg(lab: &Lab, node: &str, what: &str) -> String {
    let machine = lab.machine(node).unwrap();
    machine.run("wg", &["show", "mesh0", what]).unwrap()
}

fn stream(lab: &Lab) -> Stream {
    Stream::start(&Ping {
        interval: Duration::from_millis(10),
        marker: Some(MARKER),
        ..Ping::quick(lab.machine("a1").unwrap(), b1(lab))
    })
    .unwrap()
}

fn b1(lab: &Lab) -> IpAddr {
    lab.plan.node("b1").unwrap().address.into()
}

/// Waits until a ping from a1 to b1 is answered.
fn wait_answer(lab: &Lab) {
    wait_answer_of(lab, b1(lab));
}

fn wait_answer_of(lab: &Lab, address: IpAddr) {
    wait::until("an answer from b1", PATIENCE, || {
        let ping = Ping {
            count: 1,
            marker: Some(MARKER),
            ..Ping::quick(lab.machine("a1").unwrap(), address)
        };
        let score = ping.run().map_err(|error| error.to_string())?;
        score
            .perfect()
            .then_some(())
            .ok_or_else(|| "silence".to_owned())
    })
    .unwrap();
}

fn assert_nothing_in_clear(capture: Capture) {
    let frames = capture.finish().unwrap();
    assert_eq!(frames.containing(&MARKER).count(), 0, "in clear");
}

/// Pings a thousand times, 10 ms apart, while a1 ends as told and starts again.
fn assert_nothing_lost(end: impl FnOnce(&Lab)) {
    let Some(fixture) = kernel_pair(|_| {}) else {
        return;
    };
    let lab = &fixture.lab;
    wait_answer(lab);
    let sessions = || ["a1", "b1"].map(|node| wg(lab, node, "latest-handshakes"));
    let before = sessions();
    let thousand = Ping {
        count: 1000,
        interval: Duration::from_millis(10),
        ..Ping::quick(lab.machine("a1").unwrap(), b1(lab))
    };
    let score = thread::scope(|scope| {
        let pings = scope.spawn(|| thousand.run().unwrap());
        thread::sleep(Duration::from_secs(1));
        end(lab);
        lab.start("a1").unwrap();
        fixture.wait_all().unwrap();
        assert!(
            !pings.is_finished(),
            "the restart took longer than the pings"
        );
        pings.join().unwrap()
    });
    assert_eq!((score.sent, score.received), (1000, 1000));
    assert_eq!(sessions(), before, "a new handshake");
}

#[test]
#[ignore = "needs WireGuard in the kernel: run by the virtual machine"]
fn a_restart_loses_no_packet_and_no_session() {
    assert_nothing_lost(|lab| {
        lab.signal("a1", Signal::SIGUSR2).unwrap();
        assert!(lab.wait_end("a1", PATIENCE).unwrap().success());
    });
}

#[test]
#[ignore = "needs WireGuard in the kernel: run by the virtual machine"]
fn a_crash_loses_no_packet_and_no_session() {
    assert_nothing_lost(|lab| lab.kill("a1").unwrap());
}

#[test]
#[ignore = "needs WireGuard in the kernel: run by the virtual machine"]
fn a_deleted_interface_is_back_soon_and_nothing_passes_in_clear() {
    let Some(fixture) = kernel_pair(|_| {}) else {
        return;
    };
    let lab = &fixture.lab;
    wait_answer(lab);
    let capture = Capture::start(lab.machine(BACKBONE).unwrap()).unwrap();
    let pings = stream(lab);
    // A ping that starts without a route ends at once.
    thread::sleep(Duration::from_secs(1));
    let a1 = lab.machine("a1").unwrap();
    a1.run("ip", &["link", "del", "mesh0"]).unwrap();
    let deleted = Instant::now();
    wait_answer(lab);
    let took = deleted.elapsed();
    assert!(took < HEALED_WITHIN, "{took:?}");
    assert_told(lab, "interface_recreated");
    let score = pings.finish().unwrap();
    assert!(score.sent > score.received, "nothing was shown: {score:?}");
    assert_nothing_in_clear(capture);
}

/// The status of a1 names the problem.
fn assert_told(lab: &Lab, code: &str) {
    wait::until(code, PATIENCE, || {
        let status = meshctl::status(lab.machine("a1").unwrap());
        let problems = status.map_err(|error| error.to_string())?.problems;
        let told = problems.iter().any(|problem| problem.code == code);
        told.then_some(()).ok_or_else(|| format!("{problems:?}"))
    })
    .unwrap();
}

#[test]
#[ignore = "needs WireGuard in the kernel: run by the virtual machine"]
fn what_others_do_to_the_device_is_put_right_and_told() {
    let Some(fixture) = kernel_pair(|_| {}) else {
        return;
    };
    let lab = &fixture.lab;
    let a1 = lab.machine("a1").unwrap();
    wait_answer(lab);
    let key = meshctl::status(lab.machine("b1").unwrap())
        .unwrap()
        .public_key;
    let stranger = "A".repeat(42) + "E=";
    let key = key.to_string();
    let shown = || ["allowed-ips", "fwmark", "listen-port"].map(|what| wg(lab, "a1", what));
    let before = shown();
    let capture = Capture::start(lab.machine(BACKBONE).unwrap()).unwrap();
    for change in [
        ["peer", &key, "remove"].as_slice(),
        &["peer", &key, "allowed-ips", "10.77.0.0/16"],
        &["peer", &stranger, "allowed-ips", "10.78.0.0/16"],
        &["fwmark", "0"],
        &["listen-port", "12345"],
    ] {
        let arguments: Vec<_> = ["set", "mesh0"].iter().chain(change).copied().collect();
        a1.run("wg", &arguments).unwrap();
        wait::until("the device as it was", PATIENCE, || {
            let shown = shown();
            (shown == before)
                .then_some(())
                .ok_or_else(|| format!("{change:?}: {shown:?}"))
        })
        .unwrap();
    }
    wait_answer(lab);
    assert_told(lab, "interface_changed");
    assert_nothing_in_clear(capture);
}

/// Where a1 sends to b1, without the port.
fn address_in_use(lab: &Lab) -> String {
    let shown = wg(lab, "a1", "endpoints");
    let endpoint = shown.split_whitespace().nth(1).unwrap_or_default();
    let address = endpoint.rsplit_once(':').map(|(address, _)| address);
    address.unwrap_or_default().to_owned()
}

/// b1 has two addresses.
fn pair_with_another_address() -> Option<Fixture> {
    kernel_pair(|plan| {
        let b1 = plan.node_mut("b1").unwrap();
        b1.extra_addresses = vec![format!("{OTHER}/24").parse().unwrap()];
    })
}

#[test]
#[ignore = "needs WireGuard in the kernel: run by the virtual machine"]
fn a_node_that_loses_its_address_is_followed_without_a_handshake() {
    let Some(fixture) = pair_with_another_address() else {
        return;
    };
    let lab = &fixture.lab;
    let b1 = lab.machine("b1").unwrap();
    let mesh_address = meshctl::status(b1).unwrap().mesh_address;
    wait_answer_of(lab, mesh_address.into());
    let (lost, before) = (address_in_use(lab), wg(lab, "a1", "latest-handshakes"));
    // Without the first line the second takes both addresses: they are of one network.
    let delete = format!(
        "sysctl -qw net.ipv4.conf.eth0.promote_secondaries=1; way=$(ip -4 route show default); \
         ip addr del {lost}/24 dev eth0; ip route replace $way"
    );
    b1.script(&delete).unwrap();
    wait_answer_of(lab, mesh_address.into());
    assert_ne!(address_in_use(lab), lost);
    assert_eq!(wg(lab, "a1", "latest-handshakes"), before);
}

#[test]
#[ignore = "needs WireGuard in the kernel: run by the virtual machine"]
fn a_dead_path_is_left_without_a_handshake() {
    let Some(fixture) = pair_with_another_address() else {
        return;
    };
    let lab = &fixture.lab;
    wait_answer(lab);
    let (dead, before) = (address_in_use(lab), wg(lab, "a1", "latest-handshakes"));
    let router = lab.machine("router-b").unwrap();
    let rules = format!(
        "nft add table ip hole; nft add chain ip hole f '{{ type filter hook forward priority 0; }}'; \
         nft add rule ip hole f ip daddr {dead} udp dport 51840 drop; \
         nft add rule ip hole f ip saddr {dead} udp sport 51840 drop"
    );
    router.script(&rules).unwrap();
    wait_answer(lab);
    assert_ne!(address_in_use(lab), dead);
    assert_eq!(wg(lab, "a1", "latest-handshakes"), before);
}

/// Delay, jitter, loss and reordering, each way. Both backends: the machine's kernel has netem.
#[test]
#[ignore = "needs WireGuard in the kernel: run by the virtual machine"]
fn a_bad_network_is_borne() {
    for backend in ["kernel", "userspace"] {
        let Some(fixture) = kernel_pair(|plan| {
            for name in ["a1", "b1"] {
                let settings = json!({ "wireguard": { "backend": backend } });
                plan.node_mut(name).unwrap().settings = settings;
            }
        }) else {
            return;
        };
        let lab = &fixture.lab;
        wait_answer(lab);
        let before = wg(lab, "a1", "latest-handshakes");
        for (router, disorder) in [
            ("router-a", "delay 40ms 15ms loss 2%"),
            ("router-b", "delay 20ms reorder 20% 50%"),
        ] {
            let netem = format!("tc qdisc add dev wan root netem {disorder}");
            lab.machine(router).unwrap().script(&netem).unwrap();
        }
        let ping = Ping {
            count: 200,
            interval: Duration::from_millis(50),
            marker: Some(MARKER),
            ..Ping::quick(lab.machine("a1").unwrap(), b1(lab))
        };
        let score = ping.run().unwrap();
        // 2 % of the requests are lost; a tunnel that is given up loses them all.
        assert!(score.received >= 160, "{backend}: {score:?}");
        assert_eq!(
            meshctl::status(lab.machine("a1").unwrap())
                .unwrap()
                .peers_up,
            1
        );
        assert_eq!(wg(lab, "a1", "latest-handshakes"), before, "{backend}");
    }
}

#[test]
#[ignore = "needs WireGuard in the kernel: run by the virtual machine"]
fn a_refused_endpoint_is_left_at_once() {
    let Some(fixture) = kernel_pair(|plan| {
        let dialled = json!({
            "wireguard": { "backend": "kernel" },
            "filters": { "peerEndpoints": ["0.0.0.0/0", "::/0", "!198.51.100.66"] },
        });
        plan.node_mut("a1").unwrap().settings = dialled;
    }) else {
        return;
    };
    let lab = &fixture.lab;
    wait_answer(lab);
    let key = meshctl::status(lab.machine("b1").unwrap())
        .unwrap()
        .public_key;
    let a1 = lab.machine("a1").unwrap();
    let set = [
        "set",
        "mesh0",
        "peer",
        &key.to_string(),
        "endpoint",
        REFUSED,
    ];
    a1.run("wg", &set).unwrap();
    wait::until("another endpoint", Duration::from_secs(2), || {
        let shown = wg(lab, "a1", "endpoints");
        (!shown.contains(REFUSED)).then_some(()).ok_or(shown)
    })
    .unwrap();
    wait_answer(lab);
}

#[test]
#[ignore = "needs WireGuard in the kernel: run by the virtual machine"]
fn status_says_what_wg_says_and_a_restart_changes_the_backend() {
    let Some(fixture) = kernel_pair(|_| {}) else {
        return;
    };
    let lab = &fixture.lab;
    let a1 = lab.machine("a1").unwrap();
    wait_answer(lab);
    let peers = meshctl::peers(a1).unwrap().peers;
    let peer = &peers[0];
    let endpoint = peer.endpoint.unwrap().to_string();
    assert!(wg(lab, "a1", "endpoints").contains(&endpoint), "{endpoint}");
    let shown = wg(lab, "a1", "latest-handshakes");
    let seconds: u64 = shown.split_whitespace().nth(1).unwrap().parse().unwrap();
    let handshake = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    assert!(handshake.elapsed().unwrap() < Duration::from_secs(180));

    let set = "set by wireguard.backend";
    for (configured, kind, reason) in [
        ("userspace", BackendKind::Userspace, set),
        ("kernel", BackendKind::Kernel, set),
        (
            "auto",
            BackendKind::Kernel,
            "auto: this host's kernel has WireGuard",
        ),
    ] {
        lab.signal("a1", Signal::SIGUSR2).unwrap();
        assert!(lab.wait_end("a1", PATIENCE).unwrap().success());
        lab.configure("a1", &json!({ "wireguard": { "backend": configured } }))
            .unwrap();
        lab.start("a1").unwrap();
        fixture.wait_all().unwrap();
        wait_answer(lab);
        let status = meshctl::status(a1).unwrap();
        assert_eq!(
            (status.backend, status.backend_reason.as_str()),
            (kind, reason)
        );
    }
}

#[test]
fn in_the_virtual_machine() {
    run_ignored_tests(WITHIN);
}
