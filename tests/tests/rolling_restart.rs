//! Both discovery servers are restarted, one after the other and again, while data flows: no packet is lost,
//! and nodes are connected to both again each time.

#![cfg(test)]

use std::time::Duration;

use mesh_tests::lab::fixture::{Fixture, PATIENCE};
use mesh_tests::lab::network::DISCOVERY;
use mesh_tests::lab::ping::{Ping, Stream};
use mesh_tests::lab::process::{Daemon, logged};
use mesh_tests::lab::{Lab, LabError, Plan, meshctl, wait};
use serde_json::json;

const SECOND_PORT: u16 = 7401;
const ROUNDS: usize = 3;
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// Starts the second server, beside the lab's own.
fn second_server(lab: &Lab) -> Result<Daemon, LabError> {
    let dir = lab.dir().join("second");
    std::fs::create_dir_all(&dir).map_err(LabError::file("make", &dir))?;
    let mut command = lab.machine(DISCOVERY)?.command("discovery-server");
    command.args(["--listen", &format!("0.0.0.0:{SECOND_PORT}"), "--data-dir"]);
    command.arg(dir.join("data"));
    let command = logged(command, &dir.join("discovery-server.log"))?;
    Daemon::spawn("the second discovery server", command)
}

/// Waits until every node is connected to `count` servers.
fn wait_connected(lab: &Lab, count: usize) {
    for node in lab.plan.nodes() {
        let machine = lab.machine(&node.name).unwrap();
        wait::until("the discovery servers", PATIENCE, || {
            let status = meshctl::status(machine).map_err(|error| error.to_string())?;
            let connected = status.discovery.iter().filter(|server| server.connected);
            if connected.count() == count {
                Ok(())
            } else {
                Err(format!("{}: {:?}", node.name, status.discovery))
            }
        })
        .unwrap();
    }
}

#[test]
fn a_rolling_restart_of_both_servers_loses_no_packet() {
    let Some(fixture) = Fixture::build(Plan::new(2, 1).unwrap()) else {
        return;
    };
    let lab = &fixture.lab;
    let first = lab.plan.discovery_address();
    let second = (first.ip(), SECOND_PORT);
    let servers = [
        format!("http://{first}"),
        format!("http://{}:{}", second.0, second.1),
    ];
    for node in lab.plan.nodes() {
        let settings = json!({ "discovery": { "servers": servers } });
        lab.configure(&node.name, &settings).unwrap();
    }
    let mut other = second_server(lab).unwrap();
    lab.start_all().unwrap();
    fixture.wait_all().unwrap();
    wait_connected(lab, 2);

    let stream = |from: &str, to: &str| {
        let ping = Ping {
            interval: Duration::from_millis(20),
            ..Ping::quick(
                lab.machine(from).unwrap(),
                lab.plan.node(to).unwrap().address.into(),
            )
        };
        Stream::start(&ping).unwrap()
    };
    let streams = [stream("a1", "b1"), stream("b1", "a1")];
    for _ in 0..ROUNDS {
        assert!(lab.stop(DISCOVERY).unwrap().success());
        wait_connected(lab, 1);
        lab.start_discovery().unwrap();
        wait_connected(lab, 2);
        assert!(other.stop(STOP_LIMIT).unwrap().success());
        wait_connected(lab, 1);
        other = second_server(lab).unwrap();
        wait_connected(lab, 2);
    }
    for stream in streams {
        let what = stream.what().to_owned();
        let score = stream.finish().unwrap();
        assert!(score.perfect(), "{what}: {score:?}");
    }
}
