//! All of this works with strict reverse path filters on every machine, the tunnel interface included.

use super::verdict::broken;
use crate::demo::Outcome;
use crate::demo::stage::Stage;

pub(crate) fn run(stage: &Stage) -> Outcome {
    for name in stage.names() {
        let machine = stage.lab.machine(name)?;
        let text = machine.script(
            "cd /proc/sys/net/ipv4/conf; cat all/rp_filter eth0/rp_filter mesh0/rp_filter",
        )?;
        if text.split_whitespace().collect::<Vec<_>>() != ["1", "1", "1"] {
            return broken(format!(
                "rp_filter of all, eth0 and mesh0 on {name} is {text:?}, not 1"
            ));
        }
    }
    Ok(format!(
        "rp_filter=1 for all, eth0 and mesh0 on {} nodes with all tunnels up",
        stage.names().len()
    ))
}
