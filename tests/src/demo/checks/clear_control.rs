//! Without the mesh, traffic between zones crosses the backbone in clear, and the capture sees it: the
//! later checks that see none of it mean something.

use super::verdict::{all_answered, broken};
use crate::demo::Outcome;
use crate::demo::stage::{MARKER, Stage, pings};

pub(crate) fn run(stage: &Stage) -> Outcome {
    let (a1, b1) = (stage.lab.plan.node("a1")?, stage.lab.plan.node("b1")?);
    let capture = stage.capture_backbone()?;
    let reached = all_answered(&pings(&stage.lab, &[(a1, b1), (b1, a1)])?);
    let frames = capture.finish()?;
    let seen = frames.containing(&MARKER).count();
    if seen == 0 {
        return broken(
            "the capture on the backbone sees no plain packet: it would see no leak either",
        );
    }
    Ok(format!(
        "{}; the capture saw {seen} frames in clear",
        reached?
    ))
}
