//! Every node and pod reaches every node and pod of other zones, and the kernel sends it to the tunnel.

use super::verdict::{all_answered, broken};
use crate::demo::Outcome;
use crate::demo::stage::{Stage, pings};

pub(crate) fn run(stage: &Stage) -> Outcome {
    let pairs = stage.lab.plan.cross_pairs();
    let reached = all_answered(&pings(&stage.lab, &pairs)?)?;
    for (from, to) in &pairs {
        let machine = stage.lab.machine(&from.name)?;
        for address in [to.address, to.pod_address()] {
            let route = machine.run("ip", &["-o", "route", "get", &address.to_string()])?;
            if !route.contains(" dev mesh0 ") {
                return broken(format!(
                    "{} -> {address} does not use the tunnel: {route}",
                    from.name
                ));
            }
        }
    }
    Ok(format!(
        "nodes and pods both ways: {reached}; all routed to mesh0"
    ))
}
