//! A clean stop leaves no interface, address, route, rule or socket; and the lab leaves no process,
//! namespace or change on the host.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use super::verdict::broken;
use crate::demo::stage::Stage;
use crate::demo::{CheckError, Outcome};
use crate::lab::LabError;
use crate::lab::network::DISCOVERY;
use crate::lab::snapshot::Snapshot;

/// What tells a change of the lab's or the mesh's making from those the host's other programs make
/// meanwhile: interfaces, tables, protocol number, address plan.
const OURS: [&str; 7] = [
    "mesh0",
    "5184",
    "proto 84",
    "10.244.",
    "198.51.100.",
    "203.0.113.",
    "0x1000",
];

pub(crate) fn run(mut stage: Stage) -> Outcome {
    if let Err(error) = stop(&stage) {
        stage.lab.keep_files();
        return Err(error);
    }
    let nodes = stage.names().len();
    let namespaces = namespaces(&stage)?;
    let host = stage.host.clone();
    drop(stage);
    let left: Vec<_> = in_use()?.intersection(&namespaces).cloned().collect();
    if !left.is_empty() {
        return broken(format!(
            "{} network namespaces are still in use",
            left.len()
        ));
    }
    let mut changes = Snapshot::of_host()?.changes_since(&host);
    changes.retain(|line| OURS.iter().any(|mark| line.contains(mark)));
    if !changes.is_empty() {
        return broken(format!("the host changed: {}", changes.join("; ")));
    }
    Ok(format!(
        "SIGTERM to {nodes} nodes: exit 0, links, addresses, rules and routes of all tables as before, no \
         socket left; {} namespaces gone, host unchanged",
        namespaces.len()
    ))
}

/// Stops every daemon and looks what it left.
fn stop(stage: &Stage) -> Result<(), CheckError> {
    for name in stage.names() {
        let status = stage.lab.stop(name)?;
        if !status.success() {
            return broken(format!("meshd of {name} ended with {status} after SIGTERM"));
        }
    }
    for (name, before) in &stage.bare {
        nothing_left(stage, name, before)?;
    }
    let status = stage.lab.stop(DISCOVERY)?;
    if !status.success() {
        return broken(format!(
            "the discovery server ended with {status} after SIGTERM"
        ));
    }
    Ok(())
}

fn nothing_left(stage: &Stage, name: &str, before: &Snapshot) -> Result<(), CheckError> {
    let machine = stage.lab.machine(name)?;
    let changes = Snapshot::of(machine)?.changes_since(before);
    if !changes.is_empty() {
        return broken(format!("left on {name}: {}", changes.join("; ")));
    }
    let sockets = machine.run("find", &["/run", "-type", "s"])?;
    if !sockets.is_empty() {
        return broken(format!("sockets left on {name}: {sockets}"));
    }
    Ok(())
}

/// The network namespaces of the lab.
fn namespaces(stage: &Stage) -> Result<BTreeSet<PathBuf>, LabError> {
    let machines = stage.lab.network().machines();
    machines
        .map(|machine| {
            let path = PathBuf::from(format!("/proc/{}/ns/net", machine.pid()));
            fs::read_link(&path).map_err(LabError::file("read", &path))
        })
        .collect()
}

/// The network namespaces of all processes.
fn in_use() -> Result<BTreeSet<PathBuf>, LabError> {
    let processes = fs::read_dir("/proc").map_err(LabError::io("list processes"))?;
    let namespace = |entry: fs::DirEntry| fs::read_link(entry.path().join("ns/net")).ok();
    Ok(processes.flatten().filter_map(namespace).collect())
}
