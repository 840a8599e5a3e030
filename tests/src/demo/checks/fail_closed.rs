//! A crash, or a deleted interface, sends nothing in clear; and the node comes back.

use std::thread;
use std::time::Duration;

use super::verdict::{all_answered, broken, only_mesh_traffic};

use crate::demo::stage::{MARKER, Stage, TUNNEL_LIMIT, pings};
use mesh_proto::record::BackendKind;
use nix::sys::signal::Signal;

use crate::demo::{CheckError, Outcome};
use crate::lab::ping::{Ping, Stream};
use crate::lab::{LabError, meshctl};

/// The node that suffers.
const NODE: &str = "a1";
/// How long it stays broken, if it is for the lab to mend.
const BROKEN: Duration = Duration::from_secs(3);

/// `kill -9` of the daemon, which takes the interface of the userspace engine with it; one of the kernel goes
/// on. Later it is started again.
pub(crate) fn killed(stage: &Stage) -> Outcome {
    let seen = watched(stage, || {
        stage.lab.kill(NODE)?;
        thread::sleep(BROKEN);
        stage.lab.start(NODE)
    })?;
    let backend = meshctl::status(stage.lab.machine(NODE)?)?.backend;
    if seen.lost == 0 && backend == BackendKind::Userspace {
        return broken("no ping was lost while the daemon was dead: nothing was shown");
    }
    Ok(format!("kill -9 on {NODE}: {}", seen.evidence))
}

/// Deletion of the interface: first under a frozen daemon, which leaves the kernel alone with what is
/// there, until the daemon wakes and mends it by itself.
pub(crate) fn deleted(stage: &Stage) -> Outcome {
    let before = interface_number(stage)?;
    let seen = watched(stage, || {
        stage.lab.signal(NODE, Signal::SIGSTOP)?;
        let machine = stage.lab.machine(NODE)?;
        machine.run("ip", &["link", "delete", "mesh0"])?;
        thread::sleep(BROKEN);
        stage.lab.signal(NODE, Signal::SIGCONT)
    })?;
    if seen.lost == 0 {
        return broken("no ping was lost while there was no interface: nothing was shown");
    }
    let after = interface_number(stage)?;
    if before == after {
        return broken(format!(
            "mesh0 still has number {before}: it was not deleted"
        ));
    }
    Ok(format!(
        "ip link delete mesh0 on {NODE} with its daemon frozen, made anew when it woke (number {before} -> \
         {after}): {}",
        seen.evidence
    ))
}

struct Seen {
    lost: u32,
    evidence: String,
}

/// Keeps sending from the node and its pod while `harm` happens, and watches the backbone.
fn watched(stage: &Stage, harm: impl FnOnce() -> Result<(), LabError>) -> Result<Seen, CheckError> {
    let capture = stage.capture_backbone()?;
    let streams = streams(stage)?;
    thread::sleep(Duration::from_millis(300));
    harm()?;
    let back = stage.lab.wait_tunnels(&stage.names(), TUNNEL_LIMIT)?;
    let (mut sent, mut lost) = (0, 0);
    for stream in streams {
        let score = stream.finish()?;
        sent += score.sent;
        lost += score.sent - score.received;
    }
    let frames = capture.finish()?;
    let seen = only_mesh_traffic(&frames, stage.lab.plan.discovery_address(), &MARKER)?;
    let node = stage.lab.plan.node(NODE)?;
    let pairs = stage.lab.plan.cross_pairs();
    let pairs: Vec<_> = pairs
        .into_iter()
        .filter(|(from, _)| from.name == node.name)
        .collect();
    all_answered(&pings(&stage.lab, &pairs)?)?;
    let evidence = format!(
        "{sent} packets sent, {lost} of them held back, none in clear on the backbone ({seen}); tunnels back \
         after {:.1} s more",
        back.as_secs_f64()
    );
    Ok(Seen { lost, evidence })
}

/// The kernel never uses the number of an interface again.
fn interface_number(stage: &Stage) -> Result<String, LabError> {
    let text = stage
        .lab
        .machine(NODE)?
        .run("cat", &["/sys/class/net/mesh0/ifindex"])?;
    Ok(text.trim().to_owned())
}

fn streams(stage: &Stage) -> Result<Vec<Stream>, LabError> {
    let lab = &stage.lab;
    let node = lab.plan.node(NODE)?;
    let mut streams = Vec::new();
    for to in lab.plan.nodes().filter(|to| to.zone != node.zone) {
        for (machine, address) in [
            (node.name.clone(), to.address),
            (node.pod_name(), to.pod_address()),
        ] {
            streams.push(Stream::start(&Ping {
                interval: Duration::from_millis(50),
                marker: Some(MARKER),
                ..Ping::quick(lab.machine(&machine)?, address.into())
            })?);
        }
    }
    Ok(streams)
}
