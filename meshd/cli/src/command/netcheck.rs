//! `meshctl netcheck`: what the network around this node lets through: discovery over TCP, UDP, what a NAT
//! makes of it, the clock, the MTU, and whether the WireGuard port is reached. Asks the discovery servers
//! itself (TCP, STUN over UDP); the rest is what meshd knows.

mod probe;
mod verdict;

use mesh_proto::control::{CONTROL_VERSION, CandidateStatus, Peers, Status};
use serde::Serialize;

use super::Session;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::table::clean;
use crate::units::rtt;
use probe::Server;

/// How NATs on the way treat UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Nat {
    /// This host's own address is seen outside.
    None,
    /// The same public address for every destination: others can dial it.
    EndpointIndependent,
    /// Another public address for each destination: only endpoints without NAT can be dialled.
    DestinationDependent,
    /// A NAT; two servers are needed to tell which kind.
    Some,
    /// No answer.
    Unknown,
}

/// One question and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    name: &'static str,
    /// Null if it cannot be told.
    ok: Option<bool>,
    message: String,
    /// What to do; null if it is fine.
    remedy: Option<String>,
}

/// The document of `meshctl netcheck`.
#[derive(Debug, Serialize)]
struct Report {
    version: u32,
    node: String,
    nat: Nat,
    /// What the WireGuard port is known as.
    candidates: Vec<CandidateStatus>,
    servers: Vec<Server>,
    findings: Vec<Finding>,
}

pub(super) fn run(session: &Session) -> Result<Exit, Failure> {
    let status: Status = session.client.get("/v1/status")?;
    let peers: Peers = session.client.get("/v1/peers")?;
    let urls: Vec<String> = status
        .discovery
        .iter()
        .map(|server| server.url.clone())
        .collect();
    let servers = probe::all(&urls);
    let nat = verdict::nat(&servers);
    let findings = verdict::findings(&status, &peers, &servers, nat);
    let report = Report {
        version: CONTROL_VERSION,
        node: status.node,
        nat,
        candidates: status.candidates,
        servers,
        findings,
    };
    session.print(&report, |_| render(&report))?;
    let failed = report
        .findings
        .iter()
        .any(|finding| finding.ok == Some(false));
    Ok(if failed { Exit::Failed } else { Exit::Ok })
}

fn render(report: &Report) -> String {
    let mut out = String::new();
    for finding in &report.findings {
        let mark = match finding.ok {
            Some(true) => "ok",
            Some(false) => "FAIL",
            None => "?",
        };
        out += &format!(
            "{mark:<5} {:<10} {}\n",
            finding.name,
            clean(&finding.message)
        );
        if let Some(remedy) = &finding.remedy {
            out += &format!("{:<16} {}\n", "", clean(remedy));
        }
    }
    for server in &report.servers {
        let seen = server.reflexive.map_or_else(
            || "no STUN answer".to_owned(),
            |address| format!("sees this host as {address}, {}", rtt(server.rtt_ms)),
        );
        out += &format!("server           {}: {seen}\n", clean(&server.url));
    }
    for candidate in &report.candidates {
        out += &format!(
            "candidate        {} ({})\n",
            candidate.address, candidate.kind
        );
    }
    out
}

#[cfg(test)]
mod tests;
