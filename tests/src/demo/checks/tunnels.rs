//! The daemons start, and every pair of nodes of different zones gets a tunnel.

use std::time::Duration;

use super::verdict::broken;
use crate::demo::Outcome;
use crate::demo::stage::{Stage, TUNNEL_LIMIT};
use crate::lab::{LabError, meshctl, wait};

/// Time for passing problems of a start to go away.
const SETTLED: Duration = Duration::from_secs(10);

pub(crate) fn run(stage: &Stage) -> Outcome {
    let capture = stage.capture_backbone()?;
    *stage.backbone.lock().expect("checks do not panic") = Some(capture);
    let lab = &stage.lab;
    lab.start_all()?;
    let took = lab.wait_tunnels(&stage.names(), TUNNEL_LIMIT)?;
    healthy(stage)?;
    for node in lab.plan.nodes() {
        let peers = meshctl::peers(lab.machine(&node.name)?)?.peers;
        if let Some(peer) = peers.iter().find(|peer| peer.zone == node.zone) {
            return broken(format!(
                "{} has a tunnel to {} of its own zone",
                node.name, peer.name
            ));
        }
    }
    Ok(format!(
        "{} tunnels up on both ends after {:.1} s, none inside a zone, no problem in any status",
        lab.plan.cross_pairs().len() / 2,
        took.as_secs_f64()
    ))
}

/// A mesh without faults names none.
fn healthy(stage: &Stage) -> Result<(), LabError> {
    wait::until("a status without problems on every node", SETTLED, || {
        for name in stage.names() {
            let status = stage.lab.machine(name).and_then(meshctl::status);
            let status = status.map_err(|error| error.to_string())?;
            if let Some(problem) = status.problems.first() {
                return Err(format!("{name}: {}: {}", problem.code, problem.message));
            }
        }
        Ok(())
    })?;
    Ok(())
}
