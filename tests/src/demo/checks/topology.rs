//! Every node sees the whole mesh: all nodes, and every pair as tunnel or native.

use std::collections::BTreeSet;
use std::time::Duration;

use mesh_proto::control::{LinkKind, Topology};

use crate::demo::Outcome;
use crate::demo::stage::Stage;
use crate::lab::{LabError, Plan, meshctl, wait};

const LIMIT: Duration = Duration::from_secs(15);

/// Zone and name of each node; both ends and kind of each link.
type Shape = (BTreeSet<(String, String)>, BTreeSet<(String, String, bool)>);

pub(crate) fn run(stage: &Stage) -> Outcome {
    let expected = planned(&stage.lab.plan);
    for name in stage.names() {
        wait_for(stage, name, &expected)?;
    }
    let tunnels = expected.1.iter().filter(|link| link.2).count();
    Ok(format!(
        "each of {} nodes shows all {} nodes, {tunnels} tunnels and {} native links",
        stage.names().len(),
        expected.0.len(),
        expected.1.len() - tunnels
    ))
}

fn wait_for(stage: &Stage, name: &str, expected: &Shape) -> Result<(), LabError> {
    let machine = stage.lab.machine(name)?;
    let what = format!("the whole topology on {name}");
    wait::until(&what, LIMIT, || {
        let seen = meshctl::topology(machine).map_err(|error| error.to_string())?;
        let seen = shape(&seen);
        if seen == *expected {
            return Ok(());
        }
        Err(format!(
            "missing {:?} {:?}, not expected {:?} {:?}",
            expected.0.difference(&seen.0),
            expected.1.difference(&seen.1),
            seen.0.difference(&expected.0),
            seen.1.difference(&expected.1)
        ))
    })?;
    Ok(())
}

fn planned(plan: &Plan) -> Shape {
    let nodes = plan
        .nodes()
        .map(|node| (node.zone.clone(), node.name.clone()));
    let cross = plan.cross_pairs().into_iter().map(|(a, b)| (a, b, true));
    let inside = plan.zone_pairs().into_iter().map(|(a, b)| (a, b, false));
    let links = cross.chain(inside).filter(|(a, b, _)| a.name < b.name);
    let links = links.map(|(a, b, tunnel)| (a.name.clone(), b.name.clone(), tunnel));
    (nodes.collect(), links.collect())
}

fn shape(topology: &Topology) -> Shape {
    let nodes = topology.zones.iter().flat_map(|zone| {
        zone.nodes
            .iter()
            .map(|node| (zone.name.clone(), node.name.clone()))
    });
    let links = topology.links.iter().map(|link| {
        (
            link.a.clone(),
            link.b.clone(),
            link.kind == LinkKind::Tunnel,
        )
    });
    (nodes.collect(), links.collect())
}
