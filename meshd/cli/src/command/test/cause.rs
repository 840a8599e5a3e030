//! Why a peer does not answer, from what this node knows: the most telling fact first. Pure.

use std::net::{IpAddr, SocketAddr};

use mesh_proto::CandidateKind;
use mesh_proto::control::{MemberStatus, Members, NodeState, Path, PathState, Paths, Peer, Status};

/// Cause and remedy.
pub(super) fn of(
    status: &Status,
    members: &Members,
    peer: &Peer,
    paths: &Paths,
) -> (String, String) {
    let name = &peer.name;
    let member = members
        .members
        .iter()
        .find(|member| Some(member.id) == peer.id);
    if let Some(words) = gone(name, member) {
        return words;
    }
    let usable: Vec<_> = paths
        .paths
        .iter()
        .filter(|path| path.state != PathState::Refused)
        .collect();
    if paths.paths.is_empty() {
        return (
            format!("{name} publishes no endpoint"),
            format!(
                "its filters.endpoints may remove all of them: run `meshctl status` on {name}; it can still dial this node if this node is reachable"
            ),
        );
    }
    if usable.is_empty() {
        let reason = &paths.paths[0].reason;
        return (
            format!(
                "all {} endpoints of {name} are refused here: {reason}",
                paths.paths.len()
            ),
            "`meshctl filter test` shows what filters.peerEndpoints does to them".to_owned(),
        );
    }
    let alive = |path: &&&Path| path.in_use && path.state == PathState::Good;
    if let Some(path) = usable.iter().find(alive) {
        return lossy(name, path);
    }
    silent(status, name, &usable)
}

/// The tunnel is up, and the pings were lost all the same.
fn lossy(name: &str, path: &Path) -> (String, String) {
    let loss = path.loss_percent.map_or_else(String::new, |loss| {
        format!(", {loss} % of its last probes lost")
    });
    (
        format!(
            "the tunnel is up by {}{loss}, but no ping was answered: packets get lost on the way, or {name} is overloaded",
            path.endpoint
        ),
        format!("try again; `meshctl paths {name}` shows the loss of every path"),
    )
}

/// Endpoints that could be used, and none answers.
fn silent(status: &Status, name: &str, usable: &[&Path]) -> (String, String) {
    let others_up = status.peers_up > 0;
    let behind =
        |kind: CandidateKind| matches!(kind, CandidateKind::Reflexive | CandidateKind::Observed);
    let own_nat = behind_nat(
        status.candidates.iter().map(|c| (c.address, Some(c.kind))),
        behind,
    );
    let far_nat = behind_nat(usable.iter().map(|p| (p.endpoint, p.kind)), behind);
    let tried: Vec<String> = usable
        .iter()
        .map(|path| path.endpoint.to_string())
        .collect();
    let tried = tried.join(", ");
    if own_nat && far_nat {
        return (
            format!(
                "NAT on both sides: neither this node nor {name} has a public address of its own, and their NATs do not let the handshake through ({tried})"
            ),
            format!(
                "forward UDP port {} to one of the two and name the public address in its extraAnnouncedEndpoints",
                status.listen_port
            ),
        );
    }
    if !others_up {
        return (
            format!("no peer at all answers this node; tried {tried}"),
            format!(
                "a firewall here most likely blocks UDP: let UDP port {} in and out; `meshctl netcheck` shows whether UDP passes",
                status.listen_port
            ),
        );
    }
    (
        format!(
            "{name} is alive by discovery, other peers answer, but none of its endpoints does: {tried}"
        ),
        format!(
            "a firewall at {name} or on the way blocks its UDP port: let it in there, or check that the address is right (`meshctl status` on {name})"
        ),
    )
}

/// What discovery says of the far end, if that explains it.
fn gone(name: &str, member: Option<&MemberStatus>) -> Option<(String, String)> {
    match member.map(|member| member.state) {
        Some(NodeState::Stale) => Some((
            format!("{name} is down or cut off: its lease at discovery is over as well"),
            format!("check that the machine and meshd run: `systemctl status meshd` on {name}"),
        )),
        Some(NodeState::Unknown) => Some((
            format!(
                "{name} is known from this node's disk only: no discovery server has told of it since the start"
            ),
            "check discovery with `meshctl status`, and that the machine still exists".to_owned(),
        )),
        _ => None,
    }
}

/// True if there are endpoints behind a NAT and none with a public address of its own.
fn behind_nat(
    endpoints: impl Iterator<Item = (SocketAddr, Option<CandidateKind>)>,
    behind: impl Fn(CandidateKind) -> bool,
) -> bool {
    let mut translated = false;
    for (address, kind) in endpoints {
        match kind {
            Some(kind) if behind(kind) => translated = true,
            Some(CandidateKind::Local) if is_private(address.ip()) => {}
            _ => return false,
        }
    }
    translated
}

/// Addresses that are used at many places at once.
pub(crate) fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_loopback(),
    }
}
