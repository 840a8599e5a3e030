//! Since the daemons started, only WireGuard, STUN and discovery have crossed the backbone.

use super::verdict::{all_answered, broken, only_mesh_traffic};
use crate::demo::Outcome;
use crate::demo::stage::{MARKER, Stage, pings};
use crate::lab::classify::Kind;
use crate::lab::pcap;

pub(crate) fn run(stage: &Stage) -> Outcome {
    all_answered(&pings(&stage.lab, &stage.lab.plan.cross_pairs())?)?;
    let capture = stage.backbone.lock().expect("checks do not panic").take();
    let Some(capture) = capture else {
        return broken("no capture runs on the backbone");
    };
    let frames = capture.finish()?;
    pcap::write(&stage.lab.dir().join("backbone.pcap"), &frames)?;
    let discovery = stage.lab.plan.discovery_address();
    let evidence = only_mesh_traffic(&frames, discovery, &MARKER)?;
    let counts = frames.count(discovery);
    for kind in [Kind::Handshake, Kind::Data, Kind::Stun, Kind::Discovery] {
        if !counts.contains_key(&kind) {
            return broken(format!(
                "the capture sees no {kind:?}, which cannot be: {evidence}"
            ));
        }
    }
    Ok(evidence)
}
