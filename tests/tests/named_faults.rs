//! Faults a user can have, made one after the other in a mesh that runs: `status`, `test` or `netcheck` names
//! each, with what to do. Those of a start that fails are in `start_failures`, a hole for large packets in
//! `mtu_hole`; `docs/troubleshooting.md` lists which fault is shown where.

#![cfg(test)]

use std::process::Child;
use std::time::Duration;

use mesh_tests::lab::fixture::{Fixture, PATIENCE};
use mesh_tests::lab::network::DISCOVERY;
use mesh_tests::lab::{Lab, Plan, meshctl, packages, wait};
use serde_json::{Value, json};

/// Drops all tunnels of a machine, in and out.
const BLOCK: &str = "nft -f - <<END
table inet block {
  chain in { type filter hook input priority 0; udp dport 51840 drop; }
  chain out { type filter hook output priority 0; udp sport 51840 drop; }
}
END";

/// Waits until `status` of a node has a problem of this code, with a remedy.
fn named(lab: &Lab, node: &str, code: &str) {
    let machine = lab.machine(node).unwrap();
    let (remedy, _) = wait::until(code, PATIENCE, || {
        let status = meshctl::status(machine).map_err(|error| error.to_string())?;
        let found = status.problems.iter().find(|problem| problem.code == code);
        found
            .map(|problem| problem.remedy.clone())
            .ok_or_else(|| format!("{:?}", status.problems))
    })
    .unwrap();
    assert!(remedy.len() > 15, "{code}: {remedy}");
}

/// Waits until `status` of a node says that no tunnel is up.
fn all_down(lab: &Lab, node: &str) {
    let machine = lab.machine(node).unwrap();
    wait::until("all peers down", PATIENCE, || {
        let status = meshctl::status(machine).map_err(|error| error.to_string())?;
        match status.peers_up {
            0 => Ok(()),
            up => Err(format!("{up} are up")),
        }
    })
    .unwrap();
}

/// Waits until no problem of this code is left.
fn gone(lab: &Lab, node: &str, code: &str) {
    let machine = lab.machine(node).unwrap();
    wait::until(code, PATIENCE, || {
        let status = meshctl::status(machine).map_err(|error| error.to_string())?;
        match status.problems.iter().find(|problem| problem.code == code) {
            Some(problem) => Err(format!("{problem:?}")),
            None => Ok(()),
        }
    })
    .unwrap();
}

/// Runs meshctl on a node: exit code and the JSON it prints.
fn ask(lab: &Lab, node: &str, command: &str) -> (i32, Value) {
    let mut meshctl = lab.machine(node).unwrap().command("meshctl");
    let output = meshctl.args(["-o", "json", command]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    let document =
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{command}: {text} {error}"));
    (output.status.code().unwrap(), document)
}

/// Names of the findings of `netcheck` that fail; each says what to do.
fn failing(netcheck: &Value) -> Vec<&str> {
    let findings = netcheck["findings"].as_array().unwrap();
    let failed = findings
        .iter()
        .filter(|finding| finding["ok"] == json!(false));
    failed
        .inspect(|finding| assert!(finding["remedy"].is_string(), "{finding}"))
        .map(|finding| finding["name"].as_str().unwrap())
        .collect()
}

fn restart(lab: &Lab, node: &str, settings: &Value) {
    lab.stop(node).unwrap();
    lab.configure(node, settings).unwrap();
    lab.start(node).unwrap();
}

#[test]
fn a_blocked_port_and_a_dead_peer_are_told_apart() {
    let Some(fixture) = Fixture::running_shared(Plan::new(3, 1).unwrap()) else {
        return;
    };
    let lab = &fixture.lab;
    // What was just connected may still be at it on a busy machine.
    wait::until("a mesh without a fault", PATIENCE, || {
        let (code, tests) = ask(lab, "a1", "test");
        match (code, tests["failed"].as_u64()) {
            (0, Some(0)) => Ok(()),
            _ => Err(tests.to_string()),
        }
    })
    .unwrap();
    let (code, netcheck) = ask(lab, "a1", "netcheck");
    assert_eq!((code, failing(&netcheck)), (0, Vec::new()), "{netcheck}");
    assert_eq!(netcheck["nat"], "none", "{netcheck}");

    let machine = lab.machine("a1").unwrap();
    machine.script(BLOCK).unwrap();
    named(lab, "a1", "peer_down");
    all_down(lab, "a1");
    let (code, tests) = ask(lab, "a1", "test");
    assert_eq!(code, 3, "{tests}");
    assert!(
        tests
            .to_string()
            .contains("a firewall here most likely blocks UDP"),
        "{tests}"
    );
    let (code, netcheck) = ask(lab, "a1", "netcheck");
    assert_eq!((code, failing(&netcheck)), (1, vec!["port"]), "{netcheck}");
    machine.script("nft delete table inet block").unwrap();
    gone(lab, "a1", "peer_down");

    lab.kill("b1").unwrap();
    named(lab, "a1", "peer_down");
    let (code, tests) = ask(lab, "a1", "test");
    assert_eq!(code, 3);
    let text = tests.to_string();
    assert!(
        text.contains("other peers answer, but none of its endpoints does"),
        "{text}"
    );
}

#[test]
fn faults_of_the_host_are_named_and_go_away() {
    let Some(fixture) = Fixture::running_shared(Plan::new(2, 1).unwrap()) else {
        return;
    };
    let lab = &fixture.lab;
    let machine = lab.machine("a1").unwrap();
    machine
        .run("sysctl", &["-qw", "net.ipv4.ip_forward=0"])
        .unwrap();
    named(lab, "a1", "forwarding_off");
    machine
        .run("sysctl", &["-qw", "net.ipv4.ip_forward=1"])
        .unwrap();
    gone(lab, "a1", "forwarding_off");

    // A second uplink, strict, with a worse default route.
    machine
        .script(
            "ip link add eth1 type veth peer name far1
            sysctl -qw net.ipv4.conf.eth1.rp_filter=1
            ip address add 10.99.0.1/24 dev eth1
            ip link set eth1 up
            ip link set far1 up
            ip route add default via 10.99.0.254 dev eth1 metric 500",
        )
        .unwrap();
    named(lab, "a1", "rp_filter");
    machine
        .script("sysctl -qw net.ipv4.conf.eth1.rp_filter=2 net.ipv4.conf.all.rp_filter=2")
        .unwrap();
    gone(lab, "a1", "rp_filter");
    machine.script("ip link delete eth1").unwrap();
}

#[test]
fn faults_of_the_configuration_are_named() {
    let Some(fixture) = Fixture::running_shared(Plan::new(2, 1).unwrap()) else {
        return;
    };
    let lab = &fixture.lab;
    restart(lab, "a1", &json!({ "node": { "zone": null } }));
    named(lab, "a1", "zone_missing");

    restart(
        lab,
        "a1",
        &json!({ "filters": { "endpoints": ["0.0.0.0/0", "::/0", "!0.0.0.0/0", "!::/0"] } }),
    );
    named(lab, "a1", "filter_excludes_all");
    assert!(failing(&ask(lab, "a1", "netcheck").1).contains(&"endpoints"));

    // Both claim the pods of b1.
    let pods = lab.plan.node("b1").unwrap().pods;
    restart(lab, "a1", &json!({ "networks": { "advertise": [pods] } }));
    wait::until("an overlap", PATIENCE, || {
        let codes = |node| -> Result<Vec<String>, String> {
            let status = meshctl::status(lab.machine(node).unwrap());
            let status = status.map_err(|error| error.to_string())?;
            Ok(status
                .problems
                .into_iter()
                .map(|problem| problem.code)
                .collect())
        };
        let (a, b) = (codes("a1")?, codes("b1")?);
        let named = |code: &String| code.starts_with("prefix_");
        if a.iter().any(named) && b.iter().any(named) {
            Ok(())
        } else {
            Err(format!("{a:?} {b:?}"))
        }
    })
    .unwrap();
}

#[test]
fn a_discovery_server_that_is_down_is_named_and_costs_no_tunnel() {
    let Some(fixture) = Fixture::running_shared(Plan::new(2, 1).unwrap()) else {
        return;
    };
    let lab = &fixture.lab;
    lab.kill(DISCOVERY).unwrap();
    named(lab, "a1", "discovery_unreachable");
    assert!(failing(&ask(lab, "a1", "netcheck").1).contains(&"discovery"));
    let status = meshctl::status(lab.machine("a1").unwrap()).unwrap();
    assert_eq!((status.peers_up, status.peers_down), (1, 0), "{status:?}");
    lab.start_discovery().unwrap();
    gone(lab, "a1", "discovery_unreachable");
}

/// A discovery server that the lab does not know of.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server with a clock that is an hour ahead, for the cluster of the lab only.
fn strict_server(lab: &Lab) -> Server {
    let machine = lab.machine(DISCOVERY).unwrap();
    let secret = lab.dir().join("cluster.secret");
    let id = machine
        .run("meshctl", &["cluster", "id", secret.to_str().unwrap()])
        .unwrap();
    let library = machine
        .script("ls /usr/lib/*/faketime/libfaketime.so.1")
        .unwrap();
    let mut command = machine.command("discovery-server");
    command
        .args(["--listen", "0.0.0.0:7400", "--allow-cluster", id.trim()])
        .arg("--data-dir")
        .arg(lab.dir().join("strict"))
        .env("LD_PRELOAD", library.trim())
        .env("FAKETIME", "+1h")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    Server(command.spawn().unwrap())
}

#[test]
fn a_clock_that_is_off_and_a_secret_of_another_cluster_are_named() {
    let Some(fixture) = Fixture::build_shared(Plan::new(2, 1).unwrap()) else {
        return;
    };
    packages::provide_for_recovery().unwrap();
    let lab = &fixture.lab;
    let machine = lab.machine("a1").unwrap();
    let _server = strict_server(lab);
    lab.start("a1").unwrap();
    lab.start("b1").unwrap();
    fixture.wait_all().unwrap();
    named(lab, "a1", "clock_behind");
    assert_eq!(failing(&ask(lab, "a1", "netcheck").1), ["clock"]);

    let dir = lab.dir().join("other");
    machine
        .run(
            "meshctl",
            &["cluster", "init", "--dir", dir.to_str().unwrap()],
        )
        .unwrap();
    let settings = json!({
        "cluster": { "secretFile": dir.join("cluster.secret") },
        "stateDir": dir.join("state"),
    });
    restart(lab, "a1", &settings);
    named(lab, "a1", "wrong_secret");
    assert!(failing(&ask(lab, "a1", "netcheck").1).contains(&"discovery"));
    // A server that takes every cluster cannot know: the node is alone there.
    named(lab, "a1", "alone");
}

#[test]
fn two_sites_in_one_zone_are_named() {
    let mut plan = Plan::new(3, 1).unwrap();
    // Zone c is behind a NAT; a1 and c1 are at different sites, with one label.
    plan.node_mut("c1").unwrap().settings = json!({ "node": { "zone": "a" } });
    let Some(fixture) = Fixture::build_shared(plan) else {
        return;
    };
    let lab = &fixture.lab;
    lab.start_all().unwrap();
    named(lab, "a1", "zone_split");
    named(lab, "c1", "zone_split");
    restart(lab, "c1", &json!({}));
    fixture.wait_all().unwrap();
    gone(lab, "a1", "zone_split");
    gone(lab, "c1", "zone_split");
}

#[test]
fn nodes_of_one_site_in_one_zone_are_fine() {
    let Some(fixture) = Fixture::running_shared(Plan::new(2, 2).unwrap()) else {
        return;
    };
    // Longer than it takes to name a silent member.
    std::thread::sleep(Duration::from_secs(25));
    for node in fixture.lab.plan.nodes() {
        let status = meshctl::status(fixture.lab.machine(&node.name).unwrap()).unwrap();
        assert!(status.problems.is_empty(), "{:?}", status.problems);
    }
}

#[test]
fn nat_on_both_sides_is_named() {
    let mut plan = Plan::new(2, 1).unwrap();
    for zone in &mut plan.zones {
        zone.nat = true;
    }
    let Some(fixture) = Fixture::build_shared(plan) else {
        return;
    };
    let lab = &fixture.lab;
    lab.start_all().unwrap();
    let machine = lab.machine("a1").unwrap();
    let (seen, _) = wait::until("the peer up or named", PATIENCE, || {
        let status = meshctl::status(machine).map_err(|error| error.to_string())?;
        if status.peers_up == 1 {
            return Ok("up");
        }
        let named = status
            .problems
            .iter()
            .any(|problem| problem.code == "peer_down");
        if named {
            Ok("down")
        } else {
            Err(format!("{status:?}"))
        }
    })
    .unwrap();
    let (_, netcheck) = ask(lab, "a1", "netcheck");
    assert_eq!(netcheck["nat"], "some", "{netcheck}");
    // Whether these NATs can be crossed is not the question here; if not, it is said.
    if seen == "down" {
        let (code, tests) = ask(lab, "a1", "test");
        assert_eq!(code, 3);
        assert!(tests.to_string().contains("NAT on both sides"), "{tests}");
    }
}
