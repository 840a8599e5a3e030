//! `meshctl filter test`: what each entry of an endpoint filter does to each candidate. Works without
//! a daemon when candidates are given.

mod program;
mod report;

use std::net::{IpAddr, SocketAddr};

use mesh_proto::control::{Paths, Peers, Status};

use self::program::Program;
use self::report::Report;
use super::Session;
use crate::cli::FilterTest;
use crate::client::segment;
use crate::failure::Failure;

/// Peers whose candidates are fetched for `filters.peerEndpoints`.
const MAX_PEERS: usize = 64;

/// What the programs are tried on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    ip: IpAddr,
    port: Option<u16>,
}

pub(super) fn run(session: &Session, test: &FilterTest) -> Result<(), Failure> {
    let programs = program::load(&test.file)?;
    let given = test
        .candidates
        .iter()
        .map(|text| parse_candidate(text))
        .collect::<Result<Vec<_>, _>>()?;
    let mut reports = Vec::new();
    for program in &programs {
        let candidates = if given.is_empty() {
            ask(session, program)?
        } else {
            given.clone()
        };
        reports.push(Report::new(program, &candidates)?);
    }
    let document = report::document(&reports);
    session.print(&document, |_| report::render(&reports))?;
    for warning in reports.iter().flat_map(Report::warnings) {
        session.remark(&format!("warning: {warning}"));
    }
    Ok(())
}

fn parse_candidate(text: &str) -> Result<Candidate, Failure> {
    let with_port = |address: SocketAddr| Candidate {
        ip: address.ip(),
        port: Some(address.port()),
    };
    text.parse::<SocketAddr>()
        .map(with_port)
        .or_else(|_| text.parse().map(|ip| Candidate { ip, port: None }))
        .map_err(|_| {
            Failure::Usage(format!(
                "--candidate {text:?} is not an IP address or IP:PORT ([IP]:PORT for IPv6)"
            ))
        })
}

/// Candidates of the running daemon: its own, or those of its peers.
fn ask(session: &Session, program: &Program) -> Result<Vec<Candidate>, Failure> {
    let of = |address: SocketAddr| Candidate {
        ip: address.ip(),
        port: Some(address.port()),
    };
    let hint = |failure: Failure| match failure {
        Failure::Unreachable(why) => Failure::Unreachable(format!(
            "{why}\nwithout meshd, name the candidates: --candidate IP[:PORT]"
        )),
        other => other,
    };
    let client = &session.client;
    if !program.is_for_peers() {
        session.remark("note: tried on what this node publishes now, that is after its own filter");
        let status: Status = client.get("/v1/status").map_err(hint)?;
        let candidates = status.candidates.iter();
        return Ok(candidates.map(|candidate| of(candidate.address)).collect());
    }
    let peers: Peers = client.get("/v1/peers").map_err(hint)?;
    let mut candidates = Vec::new();
    for peer in peers.peers.iter().take(MAX_PEERS) {
        let paths: Paths = client.get(&format!("/v1/paths/{}", segment(&peer.name)))?;
        candidates.extend(paths.paths.iter().map(|path| of(path.endpoint)));
    }
    candidates.sort();
    candidates.dedup();
    if peers.peers.len() > MAX_PEERS {
        session.remark(&format!("note: tried on the first {MAX_PEERS} peers only"));
    }
    Ok(candidates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_have_a_port_or_not() {
        for (text, ip, port) in [
            ("10.0.0.1", "10.0.0.1", None),
            ("10.0.0.1:51840", "10.0.0.1", Some(51840)),
            ("2001:db8::1", "2001:db8::1", None),
            ("[2001:db8::1]:1", "2001:db8::1", Some(1)),
        ] {
            let candidate = parse_candidate(text).unwrap();
            assert_eq!((candidate.ip, candidate.port), (ip.parse().unwrap(), port));
        }
        for text in ["", "fra-1", "10.0.0.1:", "10.0.0.0/8"] {
            assert!(
                matches!(parse_candidate(text), Err(Failure::Usage(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn the_two_common_lists() {
        let candidates: Vec<Candidate> = [
            "10.0.0.1",
            "192.168.1.5:51840",
            "203.0.113.7",
            "[2001:db8::1]:51840",
        ]
        .iter()
        .map(|text| parse_candidate(text).unwrap())
        .collect();
        let text = |file: &str| {
            let programs = program::parse(file, "list").unwrap();
            let reports: Vec<Report> = programs
                .iter()
                .map(|program| Report::new(program, &candidates).unwrap())
                .collect();
            let json = crate::output::json(&report::document(&reports)).unwrap();
            (report::render(&reports), json)
        };
        let (table, json) = text("0.0.0.0/0\n::/0\n!192.168.0.0/16\n!10.0.0.0/8\n");
        insta::assert_snapshot!("filter_public", table);
        insta::assert_snapshot!("filter_public_json", json);
        let (table, _) = text(
            "filters:\n  endpoints: ['192.168.0.0/16', '10.0.0.0/8']\n  peerEndpoints: ['::/0']\n",
        );
        insta::assert_snapshot!("filter_both", table);
    }
}
