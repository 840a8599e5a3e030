//! Asks the daemons through the CLI a user has: `meshctl -o json` on the node.

use std::collections::BTreeSet;
use std::process::Stdio;

use ipnet::IpNet;
use mesh_proto::control::{Paths, PeerState, Peers, Status, Topology};
use serde::de::DeserializeOwned;

use super::error::LabError;
use super::namespace::Namespace;

/// Exit code of `status` when something is wrong but the answer stands.
const DEGRADED: i32 = 3;

/// `meshctl status`.
///
/// # Errors
/// If the daemon does not answer.
pub fn status(node: &Namespace) -> Result<Status, LabError> {
    query(node, &["status"])
}

/// `meshctl peers`.
///
/// # Errors
/// If the daemon does not answer.
pub fn peers(node: &Namespace) -> Result<Peers, LabError> {
    query(node, &["peers"])
}

/// `meshctl paths NAME`.
///
/// # Errors
/// If the daemon does not answer or knows no such peer.
pub fn paths(node: &Namespace, peer: &str) -> Result<Paths, LabError> {
    query(node, &["paths", peer])
}

/// `meshctl topology`.
///
/// # Errors
/// If the daemon does not answer.
pub fn topology(node: &Namespace) -> Result<Topology, LabError> {
    query(node, &["topology"])
}

/// Names of the peers whose tunnel is up, with all of `wanted` routed to them.
///
/// # Errors
/// If the daemon does not answer.
pub fn up_peers(
    node: &Namespace,
    wanted: impl Fn(&str) -> Vec<IpNet>,
) -> Result<BTreeSet<String>, LabError> {
    let ready = |peer: &mesh_proto::control::Peer| {
        peer.state == PeerState::Up
            && wanted(&peer.name)
                .iter()
                .all(|net| peer.allowed_ips.contains(net))
    };
    Ok(peers(node)?
        .peers
        .into_iter()
        .filter(ready)
        .map(|peer| peer.name)
        .collect())
}

/// Runs `meshctl -o json` with `arguments` and reads what it prints.
///
/// # Errors
/// If it fails or prints something else.
pub fn query<T: DeserializeOwned>(node: &Namespace, arguments: &[&str]) -> Result<T, LabError> {
    let line = format!("{}: meshctl -o json {}", node.name(), arguments.join(" "));
    let mut command = node.command("meshctl");
    command
        .args(["-o", "json"])
        .args(arguments)
        .stdin(Stdio::null());
    let output = command.output().map_err(LabError::io(line.as_str()))?;
    let failed = |text: &[u8]| LabError::Command {
        command: line.clone(),
        status: output.status.to_string(),
        stderr: String::from_utf8_lossy(text).trim().to_owned(),
    };
    if !output.status.success() && output.status.code() != Some(DEGRADED) {
        return Err(failed(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string().as_bytes()))
}
