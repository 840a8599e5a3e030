//! The daemons start, and every pair of nodes of different zones gets a tunnel.

use super::verdict::broken;
use crate::demo::Outcome;
use crate::demo::stage::{Stage, TUNNEL_LIMIT};
use crate::lab::meshctl;

pub(crate) fn run(stage: &Stage) -> Outcome {
    let capture = stage.capture_backbone()?;
    *stage.backbone.lock().expect("checks do not panic") = Some(capture);
    let lab = &stage.lab;
    lab.start_all()?;
    let took = lab.wait_tunnels(&stage.names(), TUNNEL_LIMIT)?;
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
        "{} tunnels up on both ends after {:.1} s, none inside a zone",
        lab.plan.cross_pairs().len() / 2,
        took.as_secs_f64()
    ))
}
