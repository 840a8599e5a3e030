//! meshd that cannot start, or not reach discovery: one clear message, the right exit code, soon, no
//! panic.

#![cfg(test)]

use std::process::Command;
use std::time::Duration;

use mesh_tests::lab::daemon_output::{Ended, run_to_end};
use mesh_tests::lab::fixture::{Fixture, PATIENCE};
use mesh_tests::lab::{Lab, Plan, meshctl, wait};
use serde_json::{Value, json};

/// The promise is 2 s; a busy machine gets some more.
const SOON: Duration = Duration::from_secs(5);

fn meshd(lab: &Lab, settings: &Value) -> Command {
    let path = lab.configure("a1", settings).unwrap();
    let mut command = lab.machine("a1").unwrap().command("meshd");
    command.arg("--config").arg(path);
    command
}

/// One message that names what is wrong.
fn assert_refused(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert!(!ended.text.contains("panicked"), "{}", ended.text);
    let complaints = ended
        .text
        .lines()
        .filter(|line| line.starts_with("meshd: "));
    assert_eq!(complaints.count(), 1, "not one message: {}", ended.text);
    for word in words {
        assert!(ended.text.contains(word), "no {word:?} in: {}", ended.text);
    }
}

#[test]
fn refuses_to_start() {
    let Some(fixture) = Fixture::build(Plan::new(2, 1).unwrap()) else {
        return;
    };
    let lab = &fixture.lab;
    let secret = lab.dir().join("broken.secret");
    std::fs::write(&secret, "not a secret\n").unwrap();
    let missing = lab.dir().join("missing.secret");
    let table = [
        (json!({ "nonsense": 1 }), vec!["nonsense"]),
        (
            json!({ "filters": { "endpoints": ["!/8"] } }),
            vec!["filters.endpoints[0]", "!/8"],
        ),
        (
            json!({ "filters": { "endpoints": [] } }),
            vec!["filters.endpoints"],
        ),
        (
            json!({ "topology": { "mode": "gateway" } }),
            vec!["gateway"],
        ),
        (
            json!({ "cluster": { "secretFile": secret } }),
            vec!["broken.secret"],
        ),
        (
            json!({ "cluster": { "secretFile": missing } }),
            vec!["missing.secret"],
        ),
    ];
    for (settings, words) in table {
        assert_refused(&run_to_end(meshd(lab, &settings), SOON).unwrap(), 2, &words);
    }
}

#[test]
fn refuses_to_start_without_what_it_needs_from_the_host() {
    let Some(fixture) = Fixture::build(Plan::new(2, 1).unwrap()) else {
        return;
    };
    let lab = &fixture.lab;
    let machine = lab.machine("a1").unwrap();

    meshd(lab, &json!({}));
    let mut powerless = machine.command("setpriv");
    powerless.args([
        "--bounding-set=-all",
        "--inh-caps=-all",
        "meshd",
        "--config",
    ]);
    powerless.arg(lab.machine_dir("a1").join("meshd.yaml"));
    assert_refused(&run_to_end(powerless, SOON).unwrap(), 2, &["CAP_NET_ADMIN"]);

    let occupant = machine.entry().clone();
    let socket = std::thread::spawn(move || {
        occupant.enter_network().unwrap();
        std::net::UdpSocket::bind("0.0.0.0:51840").unwrap()
    });
    let socket = socket.join().unwrap();
    assert_refused(
        &run_to_end(meshd(lab, &json!({})), SOON).unwrap(),
        1,
        &["51840"],
    );
    drop(socket);

    machine
        .script("ip link add mesh0 type veth peer name other0")
        .unwrap();
    assert_refused(
        &run_to_end(meshd(lab, &json!({})), SOON).unwrap(),
        2,
        &["mesh0", "wireguard.interface"],
    );
    machine.script("ip link delete mesh0").unwrap();

    machine
        .script("mkdir /run/dev; mount --bind /run/dev /dev/net")
        .unwrap();
    assert_refused(
        &run_to_end(meshd(lab, &json!({})), SOON).unwrap(),
        2,
        &["/dev/net/tun"],
    );
}

#[test]
fn runs_without_discovery_and_says_so() {
    let Some(fixture) = Fixture::build(Plan::new(2, 1).unwrap()) else {
        return;
    };
    let lab = &fixture.lab;
    lab.start("a1").unwrap();
    let machine = lab.machine("a1").unwrap();
    wait::until("the problem in status", Duration::from_secs(20), || {
        let status = meshctl::status(machine).map_err(|error| error.to_string())?;
        let named = status
            .problems
            .iter()
            .any(|problem| problem.code.contains("discovery"));
        let error = status
            .discovery
            .iter()
            .any(|server| !server.connected && server.error.is_some());
        if named && error {
            return Ok(());
        }
        Err(format!("{:?} {:?}", status.problems, status.discovery))
    })
    .unwrap();
    assert_eq!(lab.ended(), Vec::<String>::new());

    lab.start_discovery().unwrap();
    lab.start("b1").unwrap();
    fixture.wait_all().unwrap();
    let (status, _) = wait::until("no problem any more", PATIENCE, || {
        let status = meshctl::status(machine).map_err(|error| error.to_string())?;
        let left = status
            .problems
            .iter()
            .any(|problem| problem.code.contains("discovery"));
        if left {
            Err(format!("{:?}", status.problems))
        } else {
            Ok(status)
        }
    })
    .unwrap();
    assert_eq!((status.peers_up, status.peers_down), (1, 0));
}
