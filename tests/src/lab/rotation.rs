//! Rotation of the cluster secret in a lab, as an administrator does it: a copy that is changed, and copies of it that
//! are handed to running nodes. Each node has a file of its own.

use std::path::PathBuf;
use std::process::Command;

use mesh_proto::control::Problem;
use nix::sys::signal::Signal;
use serde_json::json;

use super::error::LabError;
use super::fixture::PATIENCE;
use super::namespace::checked;
use super::running::Lab;
use super::{meshctl, wait};

/// The secret file of one node.
fn secret_of(lab: &Lab, name: &str) -> PathBuf {
    lab.machine_dir(name).join("cluster.secret")
}

/// Gives every node a copy of the cluster secret of its own; before it is started.
///
/// # Errors
/// If a file cannot be written.
pub fn own_secrets(lab: &Lab) -> Result<(), LabError> {
    for node in lab.plan.nodes() {
        let secret = json!({ "cluster": { "secretFile": secret_of(lab, &node.name) } });
        lab.configure(&node.name, &secret)?;
        copy(lab, &node.name)?;
    }
    Ok(())
}

/// Changes the administrator's copy: `meshctl cluster rotate` with these arguments.
///
/// # Errors
/// If it fails.
pub fn rotate(lab: &Lab, arguments: &[&str]) -> Result<(), LabError> {
    let mut command = Command::new(lab.bin_dir().join("meshctl"));
    command.args(["cluster", "rotate", "--secret"]);
    command
        .arg(lab.dir().join("cluster.secret"))
        .args(arguments);
    let output = command
        .output()
        .map_err(LabError::io("run meshctl cluster rotate"))?;
    checked("meshctl cluster rotate", output).map(|_| ())
}

/// Gives the administrator's copy to a running node.
///
/// # Errors
/// If it cannot be written, or the node does not run.
pub fn hand_out(lab: &Lab, name: &str) -> Result<(), LabError> {
    copy(lab, name)?;
    lab.signal(name, Signal::SIGHUP)
}

/// Waits until the node says of the rotation what `fits`; none if it knows of none.
///
/// # Errors
/// If it does not within [`PATIENCE`].
pub fn wait_said(
    lab: &Lab,
    name: &str,
    fits: impl Fn(Option<&Problem>) -> bool,
) -> Result<(), LabError> {
    let machine = lab.machine(name)?;
    wait::until("the rotation", PATIENCE, || {
        let status = meshctl::status(machine).map_err(|error| error.to_string())?;
        let mut problems = status.problems.into_iter();
        let said = problems.find(|problem| problem.code == "secret_rotation");
        if fits(said.as_ref()) {
            Ok(())
        } else {
            Err(format!("{name}: {said:?}"))
        }
    })
    .map(|_| ())
}

/// True if this says that the rotation can be finished.
#[must_use]
pub fn is_everywhere(said: Option<&Problem>) -> bool {
    said.is_some_and(|problem| problem.message.starts_with("every known member"))
}

fn copy(lab: &Lab, name: &str) -> Result<(), LabError> {
    let to = secret_of(lab, name);
    std::fs::copy(lab.dir().join("cluster.secret"), &to)
        .map(|_| ())
        .map_err(LabError::file("write", &to))
}
