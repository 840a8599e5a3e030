//! Discovery is gone for a while, and one node crashes and restarts meanwhile: nobody else loses a peer,
//! a route or a packet, and the restarted node comes back from its own disk.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use super::verdict::{all_answered, broken};
use crate::demo::stage::{Stage, TUNNEL_LIMIT, pings};
use crate::demo::{CheckError, Outcome};
use crate::lab::network::DISCOVERY;
use crate::lab::ping::{Ping, Stream};
use crate::lab::{LabError, meshctl, wait};

/// Shortens the outage, in seconds.
const VARIABLE: &str = "MESH_LAB_OUTAGE_SECONDS";
const DEFAULT_SECONDS: u64 = 90;
/// The node that restarts.
const RESTARTED: &str = "a2";
/// Time for everybody to find the server again.
const RETURN_LIMIT: Duration = Duration::from_secs(30);

/// Peers with allowed IPs, routes and rules of a node, as text.
type View = BTreeSet<String>;

pub(crate) fn run(stage: &Stage) -> Outcome {
    let length = std::env::var(VARIABLE)
        .ok()
        .and_then(|text| text.parse().ok());
    let length = Duration::from_secs(length.unwrap_or(DEFAULT_SECONDS));
    let others: Vec<_> = stage
        .names()
        .into_iter()
        .filter(|name| *name != RESTARTED)
        .collect();
    let before = views(stage, &others)?;
    let streams = streams(stage)?;
    let start = Instant::now();
    stage.lab.stop(DISCOVERY)?;
    thread::sleep(length / 6);

    stage.lab.kill(RESTARTED)?;
    thread::sleep(Duration::from_secs(1));
    nothing_removed(stage, &before)?;
    stage.lab.start(RESTARTED)?;
    let back = stage.lab.wait_tunnels(&stage.names(), TUNNEL_LIMIT)?;
    let node = stage.lab.plan.node(RESTARTED)?;
    let pairs = stage.lab.plan.cross_pairs();
    let pairs: Vec<_> = pairs
        .into_iter()
        .filter(|(from, _)| from.name == node.name)
        .collect();
    let reached = all_answered(&pings(&stage.lab, &pairs)?)?;

    while start.elapsed() < length {
        nothing_removed(stage, &before)?;
        thread::sleep(Duration::from_secs(2));
    }
    everybody_knows(stage, false)?;
    let outage = start.elapsed();
    let (count, packets) = finish(streams)?;
    stage.lab.start_discovery()?;
    wait::until("all nodes to find the server again", RETURN_LIMIT, || {
        everybody_knows(stage, true).map_err(|error| error.to_string())
    })?;
    nothing_removed(stage, &before)?;
    Ok(format!(
        "{} s without discovery: {count} ping streams lost 0 of {packets}; no peer, route or rule removed on \
         {} nodes; {RESTARTED} killed and back from its cache in {:.1} s ({reached}); all found the server again",
        outage.as_secs(),
        others.len(),
        back.as_secs_f64()
    ))
}

/// Ping streams between the nodes, and the pods, that do not restart, one per pair.
fn streams(stage: &Stage) -> Result<Vec<Stream>, LabError> {
    let mut streams = Vec::new();
    for (from, to) in stage.lab.plan.cross_pairs() {
        if from.name > to.name
            || [&from.name, &to.name]
                .into_iter()
                .any(|name| name == RESTARTED)
        {
            continue;
        }
        for (machine, address) in [
            (from.name.clone(), to.address),
            (from.pod_name(), to.pod_address()),
        ] {
            streams.push(Stream::start(&Ping {
                interval: Duration::from_millis(100),
                ..Ping::quick(stage.lab.machine(&machine)?, address.into())
            })?);
        }
    }
    Ok(streams)
}

/// Ends the streams; none may have lost anything. Returns how many there were and packets sent.
fn finish(streams: Vec<Stream>) -> Result<(usize, u32), CheckError> {
    let count = streams.len();
    let mut packets = 0;
    let mut lossy = Vec::new();
    for stream in streams {
        let what = stream.what().to_owned();
        let score = stream.finish()?;
        packets += score.sent;
        if !score.perfect() {
            lossy.push(format!(
                "{what} lost {} of {}",
                score.sent - score.received,
                score.sent
            ));
        }
    }
    match lossy.first() {
        None => Ok((count, packets)),
        Some(_) => broken(format!("pings were lost: {}", lossy.join(", "))),
    }
}

fn views(stage: &Stage, names: &[&str]) -> Result<BTreeMap<String, View>, LabError> {
    names
        .iter()
        .map(|name| Ok(((*name).to_owned(), view(stage, name)?)))
        .collect()
}

fn view(stage: &Stage, name: &str) -> Result<View, LabError> {
    let machine = stage.lab.machine(name)?;
    let mut view = View::new();
    let commands: [&[&str]; 5] = [
        &["wg", "show", "mesh0", "allowed-ips"],
        &["ip", "-4", "route", "show", "table", "5184"],
        &["ip", "-6", "route", "show", "table", "5184"],
        &["ip", "-4", "rule"],
        &["ip", "-6", "rule"],
    ];
    for command in commands {
        let text = machine.run(command[0], &command[1..])?;
        view.extend(
            text.lines()
                .map(|line| format!("{}: {}", command[0], line.trim())),
        );
    }
    Ok(view)
}

fn nothing_removed(stage: &Stage, before: &BTreeMap<String, View>) -> Result<(), CheckError> {
    for (name, before) in before {
        let now = view(stage, name)?;
        if let Some(gone) = before.difference(&now).next() {
            return broken(format!("removed on {name}: {gone}"));
        }
    }
    Ok(())
}

/// Every daemon says that it is, or is not, connected to discovery.
fn everybody_knows(stage: &Stage, connected: bool) -> Result<(), CheckError> {
    for name in stage.names() {
        let status = meshctl::status(stage.lab.machine(name)?)?;
        if status
            .discovery
            .iter()
            .any(|server| server.connected != connected)
        {
            return broken(format!(
                "{name} says about discovery: connected = {}",
                !connected
            ));
        }
    }
    Ok(())
}
