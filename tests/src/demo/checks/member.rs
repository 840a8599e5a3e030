//! The whole mesh again, in a lab of its own, with the discovery server on a node that is itself a
//! member: discovery must not wait for the tunnels that wait for discovery.

use std::path::Path;

use super::verdict::{all_answered, broken, only_mesh_traffic};
use crate::demo::Outcome;
use crate::demo::stage::{MARKER, TUNNEL_LIMIT, pings, plan};
use crate::lab::capture::Capture;
use crate::lab::network::{BACKBONE, DISCOVERY};
use crate::lab::plan::Placement;
use crate::lab::{Lab, meshctl};

/// The node that carries the server.
const HOST: &str = "b1";

pub(crate) fn run(name: &str, bin_dir: &Path) -> Outcome {
    let mut plan = plan()?;
    plan.discovery = Placement::Node(HOST.to_owned());
    let mut lab = Lab::build(name, plan, bin_dir)?;
    let outcome = form(&lab);
    if outcome.is_err() {
        lab.keep_files();
    }
    outcome
}

fn form(lab: &Lab) -> Outcome {
    let capture = Capture::start(lab.machine(BACKBONE)?)?;
    lab.start_all()?;
    let names: Vec<_> = lab.plan.nodes().map(|node| node.name.as_str()).collect();
    let took = lab.wait_tunnels(&names, TUNNEL_LIMIT)?;
    let reached = all_answered(&pings(lab, &lab.plan.cross_pairs())?)?;
    // A new connection to the server, now that the tunnels would attract it.
    lab.kill(DISCOVERY)?;
    lab.start_discovery()?;
    crate::lab::wait::until("all nodes to find the server again", TUNNEL_LIMIT, || {
        let apart = names.iter().find(|name| !connected(lab, name));
        apart.map_or(Ok(()), |name| Err(format!("{name} is not connected")))
    })?;
    let seen = only_mesh_traffic(&capture.finish()?, lab.plan.discovery_address(), &MARKER)?;
    for name in &names {
        if !lab.stop(name)?.success() {
            return broken(format!("meshd of {name} did not stop cleanly"));
        }
    }
    Ok(format!(
        "server on {HOST}: all tunnels up after {:.1} s, {reached}, all reconnected to a restarted server; \
         backbone: {seen}",
        took.as_secs_f64()
    ))
}

fn connected(lab: &Lab, name: &str) -> bool {
    let status = lab.machine(name).and_then(meshctl::status);
    status.is_ok_and(|status| status.discovery.iter().all(|server| server.connected))
}
