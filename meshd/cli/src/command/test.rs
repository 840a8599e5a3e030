//! `meshctl test`: is the whole mesh connected, and if not, why not. Pings every tunnel of this node, takes
//! those of other nodes from their reports, and names a cause and a remedy for every failure.

mod cause;
mod junit;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use mesh_proto::control::{
    CONTROL_VERSION, LinkKind, LinkState, Members, Paths, Peer, Peers, Pinged, Status, Topology,
    TopologyLink,
};
use serde::Serialize;

use super::Session;
use super::status::is_serious;
use crate::client::segment;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::table::{Table, clean};
use crate::units::{age, rtt};

/// Peers pinged at once: each answer takes up to a second, and meshd takes 64 requests at once.
const MAX_WORKERS: usize = 16;
/// Pings of a peer before it counts as silent.
const ATTEMPTS: usize = 3;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Ok,
    Failed,
    /// Nothing could be learned.
    Skipped,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Check {
    name: String,
    outcome: Outcome,
    rtt_ms: Option<f64>,
    /// Why it failed or was skipped.
    cause: Option<String>,
    remedy: Option<String>,
}

/// The document of `meshctl test`.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Tests {
    version: u32,
    node: String,
    passed: usize,
    failed: usize,
    skipped: usize,
    checks: Vec<Check>,
}

/// What is asked once and used for all checks.
#[derive(Debug)]
struct Known {
    status: Status,
    peers: Peers,
    members: Members,
    topology: Topology,
}

pub(super) fn run(session: &Session, file: Option<&Path>) -> Result<Exit, Failure> {
    let known = Known {
        status: session.client.get("/v1/status")?,
        peers: session.client.get("/v1/peers")?,
        members: session.client.get("/v1/members")?,
        topology: session.client.get("/v1/topology")?,
    };
    let mut checks = node_checks(&known.status);
    checks.extend(ping_all(session, &known));
    checks.extend(elsewhere(&known));
    let count = |outcome| {
        checks
            .iter()
            .filter(|check| check.outcome == outcome)
            .count()
    };
    let tests = Tests {
        version: CONTROL_VERSION,
        node: known.status.node,
        passed: count(Outcome::Ok),
        failed: count(Outcome::Failed),
        skipped: count(Outcome::Skipped),
        checks,
    };
    if let Some(file) = file {
        std::fs::write(file, junit::render(&tests)).map_err(Failure::file("write", file))?;
    }
    session.print(&tests, |wide| render(&tests, wide))?;
    Ok(if tests.failed == 0 {
        Exit::Ok
    } else {
        Exit::Degraded
    })
}

/// One check for each problem of this node besides silent peers, which are checked by themselves.
fn node_checks(status: &Status) -> Vec<Check> {
    let mut checks: Vec<Check> = status
        .problems
        .iter()
        .filter(|problem| is_serious(problem) && problem.code != "peer_down")
        .map(|problem| Check {
            name: format!("node {}: {}", status.node, problem.code),
            outcome: Outcome::Failed,
            rtt_ms: None,
            cause: Some(problem.message.clone()),
            remedy: Some(problem.remedy.clone()),
        })
        .collect();
    if checks.is_empty() {
        checks.push(Check::passed(format!("node {}", status.node), None));
    }
    checks
}

impl Check {
    const fn passed(name: String, rtt_ms: Option<f64>) -> Self {
        Self {
            name,
            outcome: Outcome::Ok,
            rtt_ms,
            cause: None,
            remedy: None,
        }
    }
}

/// Pings the peers of this node, several at once; in the order of `peers`. Who answers is known when causes are
/// looked for: what meshd thought a moment before may be over.
fn ping_all(session: &Session, known: &Known) -> Vec<Check> {
    let peers: Vec<&Peer> = known.peers.peers.iter().collect();
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let results = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..MAX_WORKERS.min(peers.len()) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(peer) = peers.get(index) else { return };
                    let check = ping(session, known, peer);
                    let number = done.fetch_add(1, Ordering::Relaxed) + 1;
                    progress(session, number, peers.len(), &check);
                    if let Ok(mut results) = results.lock() {
                        results.insert(index, check);
                    }
                }
            });
        }
    });
    let results: BTreeMap<usize, Check> = results.into_inner().unwrap_or_default();
    let answering = results
        .values()
        .filter(|check| check.outcome == Outcome::Ok)
        .count();
    let status = Status {
        peers_up: answering,
        ..known.status.clone()
    };
    let checked = results
        .into_iter()
        .map(|(index, check)| match check.outcome {
            Outcome::Failed => diagnose(session, (&status, &known.members), peers[index], check),
            _ => check,
        });
    checked.collect()
}

/// Adds cause and remedy to a failed ping.
fn diagnose(
    session: &Session,
    (status, members): (&Status, &Members),
    peer: &Peer,
    mut check: Check,
) -> Check {
    let paths = session
        .client
        .get::<Paths>(&format!("/v1/paths/{}", segment(&peer.name)));
    let (cause, remedy) = match paths {
        Ok(paths) => cause::of(status, members, peer, &paths),
        Err(error) => (
            check.cause.take().unwrap_or_else(|| error.to_string()),
            "see `meshctl events`".to_owned(),
        ),
    };
    (check.cause, check.remedy) = (Some(cause), Some(remedy));
    check
}

fn progress(session: &Session, number: usize, all: usize, check: &Check) {
    session.remark(&format!("[{number}/{all}] {}", clean(&line(check))));
}

fn line(check: &Check) -> String {
    match check.outcome {
        Outcome::Ok => format!("{}: ok {}", check.name, rtt(check.rtt_ms)),
        Outcome::Failed => format!("{}: FAILED", check.name),
        Outcome::Skipped => format!("{}: skipped", check.name),
    }
}

/// One peer. A failure has no cause yet but the words of meshd, if it refused.
fn ping(session: &Session, known: &Known, peer: &Peer) -> Check {
    let name = format!("tunnel {} – {}", known.status.node, peer.name);
    if peer.id.is_none() {
        return stock(name, peer);
    }
    let target = format!("/v1/ping/{}", segment(&peer.name));
    let mut refusal = None;
    for _ in 0..ATTEMPTS {
        match session.client.get::<Pinged>(&target) {
            Ok(pinged) if pinged.rtt_ms.is_some() => return Check::passed(name, pinged.rtt_ms),
            Ok(_) => {}
            Err(failure) => refusal = Some(failure.to_string()),
        }
    }
    Check {
        name,
        outcome: Outcome::Failed,
        rtt_ms: None,
        cause: refusal,
        remedy: None,
    }
}

/// Stock WireGuard answers no probes: a handshake is all there is to go by.
fn stock(name: String, peer: &Peer) -> Check {
    if peer.last_handshake.is_some() {
        return Check::passed(name, None);
    }
    Check {
        name,
        outcome: Outcome::Skipped,
        rtt_ms: None,
        cause: Some("a stock WireGuard peer without a handshake so far: it may be idle".to_owned()),
        remedy: Some(format!(
            "`meshctl showconf --as-peer {}` prints what it has to configure",
            peer.name
        )),
    }
}

/// Tunnels between other nodes, as they report them: one check for each pair of zones.
fn elsewhere(known: &Known) -> Vec<Check> {
    let own = &known.status.node;
    let zones: BTreeMap<&str, &str> = known
        .topology
        .zones
        .iter()
        .flat_map(|zone| {
            zone.nodes
                .iter()
                .map(|node| (node.name.as_str(), zone.name.as_str()))
        })
        .collect();
    let mut groups: BTreeMap<(&str, &str), Vec<&TopologyLink>> = BTreeMap::new();
    for link in &known.topology.links {
        if link.kind == LinkKind::Tunnel && link.a != *own && link.b != *own {
            let zone = |name: &str| zones.get(name).copied().unwrap_or("?");
            let (a, b) = (zone(&link.a), zone(&link.b));
            groups.entry((a.min(b), a.max(b))).or_default().push(link);
        }
    }
    let mut checks = Vec::new();
    for ((a, b), links) in groups {
        let broken: Vec<_> = links
            .iter()
            .filter(|l| l.state >= LinkState::Suspect)
            .collect();
        let unknown = links
            .iter()
            .filter(|l| l.state == LinkState::Unknown)
            .count();
        checks.extend(broken.iter().map(|link| Check {
            name: format!("tunnel {} – {}", link.a, link.b),
            outcome: Outcome::Failed,
            rtt_ms: None,
            cause: Some(reported(link)),
            remedy: Some(format!("run `meshctl test` on {} or {}", link.a, link.b)),
        }));
        let name = format!("{} reported tunnels {a} – {b}", links.len());
        checks.push(match (unknown, broken.len()) {
            (0, 0) => Check::passed(name, None),
            (0, _) => continue,
            (unknown, _) => Check {
                name,
                outcome: Outcome::Skipped,
                rtt_ms: None,
                cause: Some(format!(
                    "{unknown} of them are not reported by either end yet"
                )),
                remedy: Some("reports come once a minute and by discovery: try again".to_owned()),
            },
        });
    }
    checks
}

/// Reports lag: a tunnel that came back is still reported as broken for up to a minute.
fn reported(link: &TopologyLink) -> String {
    let when = link
        .age_s
        .map_or_else(String::new, |s| format!(" {} ago", age(s)));
    format!(
        "one end reported the tunnel as {}{when}; reports are up to a minute behind",
        link.state
    )
}

fn render(tests: &Tests, wide: bool) -> String {
    let mut out = String::new();
    if wide {
        let mut table = Table::new(&["CHECK", "OUTCOME", "RTT"]);
        for check in &tests.checks {
            let outcome = match check.outcome {
                Outcome::Ok => "ok",
                Outcome::Failed => "FAILED",
                Outcome::Skipped => "skipped",
            };
            table.row([check.name.clone(), outcome.to_owned(), rtt(check.rtt_ms)]);
        }
        out = table.render() + "\n";
    }
    for check in tests
        .checks
        .iter()
        .filter(|check| check.outcome != Outcome::Ok)
    {
        out += &format!("{}\n", clean(&line(check)));
        for text in [&check.cause, &check.remedy].into_iter().flatten() {
            out += &format!("  {}\n", clean(text));
        }
    }
    out + &format!(
        "{} passed, {} failed, {} skipped\n",
        tests.passed, tests.failed, tests.skipped
    )
}

#[cfg(test)]
mod tests;
