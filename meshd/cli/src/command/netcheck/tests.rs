//! Verdicts from fixed answers.

use super::*;
use crate::sample;

fn server(host: &str, reflexive: Option<&str>, local: &str) -> Server {
    Server {
        url: format!("http://{host}"),
        address: Some(host.parse().unwrap()),
        tcp: true,
        tcp_error: None,
        reflexive: reflexive.map(|address| address.parse().unwrap()),
        local: Some(local.parse().unwrap()),
        rtt_ms: reflexive.map(|_| 12.0),
    }
}

#[test]
fn kinds_of_nat() {
    let (one, two) = ("192.0.2.1:7400", "192.0.2.2:7400");
    for (servers, wanted) in [
        (vec![], Nat::Unknown),
        (vec![server(one, None, "10.0.0.1")], Nat::Unknown),
        (vec![server(one, Some("10.0.0.1:9"), "10.0.0.1")], Nat::None),
        (
            vec![server(one, Some("203.0.113.1:9"), "10.0.0.1")],
            Nat::Some,
        ),
        (
            vec![
                server(one, Some("203.0.113.1:9"), "10.0.0.1"),
                server(two, Some("203.0.113.1:9"), "10.0.0.1"),
            ],
            Nat::EndpointIndependent,
        ),
        (
            vec![
                server(one, Some("203.0.113.1:9"), "10.0.0.1"),
                server(two, Some("203.0.113.1:10"), "10.0.0.1"),
            ],
            Nat::DestinationDependent,
        ),
        (
            vec![
                server(one, Some("203.0.113.1:9"), "10.0.0.1"),
                server("192.0.2.1:7401", Some("203.0.113.1:10"), "10.0.0.1"),
            ],
            Nat::Some,
        ),
    ] {
        assert_eq!(verdict::nat(&servers), wanted, "{servers:?}");
    }
}

fn failed(status: &Status, servers: &[Server]) -> Vec<&'static str> {
    let findings = verdict::findings(status, &sample::peers(), servers, verdict::nat(servers));
    assert!(
        findings
            .iter()
            .all(|f| f.ok != Some(false) || f.remedy.is_some()),
        "{findings:?}"
    );
    findings
        .iter()
        .filter(|f| f.ok == Some(false))
        .map(|f| f.name)
        .collect()
}

#[test]
fn every_finding_can_fail_and_says_what_to_do() {
    let fine = [server("192.0.2.1:7400", Some("10.0.0.1:9"), "10.0.0.1")];
    let status = sample::status();
    assert!(failed(&status, &fine).is_empty());
    let deaf = [server("192.0.2.1:7400", None, "10.0.0.1")];
    assert_eq!(failed(&status, &deaf), ["udp"]);
    let mut dead = deaf;
    (dead[0].tcp, dead[0].tcp_error) = (false, Some("refused".to_owned()));
    assert_eq!(failed(&status, &dead), ["discovery"]);
    for (code, name) in [
        ("clock_behind", "clock"),
        ("mtu_hole", "mtu"),
        ("wrong_secret", "discovery"),
    ] {
        let mut status = sample::status();
        status.problems.push(sample::problem(code));
        assert_eq!(failed(&status, &fine), [name]);
    }
    let mut status = sample::status();
    status.candidates.clear();
    status.problems.push(sample::problem("filter_excludes_all"));
    assert_eq!(failed(&status, &fine), ["endpoints"]);
    let mut peers = sample::peers();
    for peer in &mut peers.peers {
        peer.state = mesh_proto::control::PeerState::Down;
    }
    let findings = verdict::findings(&sample::status(), &peers, &fine, Nat::None);
    assert!(
        findings
            .iter()
            .any(|f| f.name == "port" && f.ok == Some(false))
    );
}

#[test]
fn a_report_for_people() {
    let servers = vec![
        server("192.0.2.1:7400", Some("203.0.113.7:4000"), "10.0.0.1"),
        server("192.0.2.2:7400", Some("203.0.113.7:4001"), "10.0.0.1"),
    ];
    let (status, nat) = (sample::status(), verdict::nat(&servers));
    let findings = verdict::findings(&status, &sample::peers(), &servers, nat);
    let report = Report {
        version: CONTROL_VERSION,
        node: status.node,
        nat,
        candidates: status.candidates,
        servers,
        findings,
    };
    insta::assert_snapshot!("netcheck", render(&report));
    insta::assert_snapshot!("netcheck_json", crate::output::json(&report).unwrap());
}
