//! `meshctl leave`: tell the others that this node leaves for good, then stop meshd.

use std::io::{self, BufRead as _, IsTerminal as _};

use mesh_proto::control::Left;

use super::Session;
use crate::failure::Failure;
use crate::output;

pub(super) fn run(session: &Session, yes: bool) -> Result<(), Failure> {
    if !yes {
        confirm()?;
    }
    let left: Left = session.client.post("/v1/leave")?;
    session.print(&left, |_| String::new())?;
    session.remark(if left.published {
        "this node has left the cluster; meshd stops"
    } else {
        "meshd stops, but no discovery server confirmed the leave: nodes with a tunnel to this one were \
         told through it, the others forget it an hour after its lease is over"
    });
    Ok(())
}

fn confirm() -> Result<(), Failure> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::Usage(
            "leave stops meshd and removes this node from the mesh; say --yes to do it".to_owned(),
        ));
    }
    output::note("leave stops meshd and removes this node from the mesh. Type yes to go on:");
    let mut answer = String::new();
    stdin
        .lock()
        .read_line(&mut answer)
        .map_err(Failure::file("read from", "stdin".as_ref()))?;
    if answer.trim() == "yes" {
        Ok(())
    } else {
        Err(Failure::Invalid(
            "not confirmed: nothing was done".to_owned(),
        ))
    }
}
