//! A range excluded by a filter is never an endpoint: neither one that its owner keeps to itself, nor one
//! that a peer does not dial. A node that offers the range is there as the control.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::verdict::broken;
use crate::demo::stage::{FILTERED, Stage};
use crate::demo::{CheckError, Outcome};
use crate::lab::meshctl;

/// Offers the range, and prefers it.
const OFFERS: &str = "b1";
/// Has an address in the range and excludes it.
const EXCLUDES: &str = "b2";
/// Dials nothing in the range.
const AVOIDS: &str = "a2";

pub(crate) fn run(stage: &Stage) -> Outcome {
    let lab = &stage.lab;
    let offered = candidates(stage, "a1", OFFERS)?;
    if !offered.iter().any(|endpoint| in_range(endpoint.ip())) {
        return broken(format!(
            "the control fails: a1 knows no address of {OFFERS} in {FILTERED}"
        ));
    }
    let owner = meshctl::status(lab.machine(EXCLUDES)?)?;
    if let Some(own) = owner
        .candidates
        .iter()
        .find(|candidate| in_range(candidate.address.ip()))
    {
        return broken(format!("{EXCLUDES} publishes {}", own.address));
    }
    let mut endpoints = 0;
    for (from, to) in lab.plan.cross_pairs() {
        let used = endpoint(stage, &from.name, &to.name)?;
        endpoints += 1;
        if in_range(used.ip()) && (to.name == EXCLUDES || from.name == AVOIDS) {
            return broken(format!("{} reaches {} at {used}", from.name, to.name));
        }
        let known = candidates(stage, &from.name, &to.name)?;
        if to.name == EXCLUDES && known.iter().any(|endpoint| in_range(endpoint.ip())) {
            return broken(format!("{} knows {known:?} of {EXCLUDES}", from.name));
        }
    }
    Ok(format!(
        "{endpoints} endpoints of wg show: none in {FILTERED} for {EXCLUDES} (excludes it) or on {AVOIDS} \
         (does not dial it); a1 knows one of {OFFERS} (offers it) and reaches it at {}",
        endpoint(stage, "a1", OFFERS)?
    ))
}

fn in_range(address: IpAddr) -> bool {
    FILTERED
        .parse::<IpNet>()
        .expect("written here")
        .contains(&address)
}

fn candidates(stage: &Stage, from: &str, to: &str) -> Result<Vec<SocketAddr>, CheckError> {
    let paths = meshctl::paths(stage.lab.machine(from)?, to)?.paths;
    Ok(paths.into_iter().map(|path| path.endpoint).collect())
}

/// The endpoint as `wg show mesh0 endpoints` has it, found by the key that `meshctl` tells.
fn endpoint(stage: &Stage, from: &str, to: &str) -> Result<SocketAddr, CheckError> {
    let machine = stage.lab.machine(from)?;
    let peers = meshctl::peers(machine)?.peers;
    let Some(peer) = peers.iter().find(|peer| peer.name == to) else {
        return broken(format!("{from} has no peer {to}"));
    };
    let key = peer.public_key.to_string();
    let text = machine.run("wg", &["show", "mesh0", "endpoints"])?;
    let endpoint = text
        .lines()
        .find_map(|line| line.strip_prefix(&key)?.trim().parse().ok());
    endpoint.map_or_else(
        || broken(format!("wg show on {from} has no endpoint of {to}: {text}")),
        Ok,
    )
}
