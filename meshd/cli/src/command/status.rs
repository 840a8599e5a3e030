//! `meshctl status`: is this node well, and if not, what to do.

use std::fmt::Write as _;

use mesh_proto::control::{DiscoveryStatus, OffloadStatus, Problem, Status};

use super::Session;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::table::clean;
use crate::units::ago;

/// Problems that do not make a node degraded: things to know, not things to repair at once. The
/// list is part of the interface, see `docs/cli.md`.
const INFORMATIONAL: [&str; 5] = [
    "filter_warning",
    "interface_changed",
    "interface_recreated",
    "same_name",
    "zone_missing",
];

pub(super) fn run(session: &Session) -> Result<Exit, Failure> {
    let status: Status = session.client.get("/v1/status")?;
    session.print(&status, |wide| render(&status, session.now, wide))?;
    Ok(verdict(&status))
}

/// True for a problem that needs somebody.
pub(super) fn is_serious(problem: &Problem) -> bool {
    !INFORMATIONAL.contains(&problem.code.as_str())
}

/// Degraded if a tunnel does not pass data or a problem needs somebody.
fn verdict(status: &Status) -> Exit {
    if status.peers_down > 0 || status.problems.iter().any(is_serious) {
        Exit::Degraded
    } else {
        Exit::Ok
    }
}

fn render(status: &Status, now: i64, wide: bool) -> String {
    let mut out = String::new();
    let mut line = |label: &str, text: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{label:<13} {}", clean(&text));
    };
    let id = if wide {
        status.id.to_string()
    } else {
        status.id.short()
    };
    line("node", format!("{} ({id})", status.node));
    line("zone", status.zone.clone());
    line("cluster", status.cluster.to_string());
    line(
        "backend",
        format!("{} ({})", status.backend, status.backend_reason),
    );
    line(
        "interface",
        format!(
            "{}, port {}, MTU {}",
            status.interface, status.listen_port, status.mtu
        ),
    );
    if let Some(offloads) = &status.offloads {
        line("offloads", offload_text(offloads));
    }
    line("mesh address", status.mesh_address.to_string());
    line("public key", status.public_key.to_string());
    line("candidates", candidates(status));
    for (index, server) in status.discovery.iter().enumerate() {
        let label = if index == 0 { "discovery" } else { "" };
        line(label, discovery(server, now));
    }
    line("members", format!("{} besides this node", status.members));
    line(
        "peers",
        format!("{} up, {} down", status.peers_up, status.peers_down),
    );
    if status.problems.is_empty() {
        line("problems", "none".to_owned());
    } else {
        line("problems", status.problems.len().to_string());
        out.push_str(&problems(&status.problems));
    }
    out
}

fn offload_text(offloads: &OffloadStatus) -> String {
    let list = |names: &[String]| match names {
        [] => "none".to_owned(),
        names => names.join(" "),
    };
    let in_use = list(&offloads.in_use);
    if offloads.missing.is_empty() {
        return in_use;
    }
    format!(
        "{in_use}; slower without {}, which the kernel or a network card lacks",
        list(&offloads.missing)
    )
}

fn candidates(status: &Status) -> String {
    if status.candidates.is_empty() {
        return "none: others cannot dial this node".to_owned();
    }
    let list: Vec<String> = status
        .candidates
        .iter()
        .map(|candidate| format!("{} ({})", candidate.address, candidate.kind))
        .collect();
    list.join(", ")
}

fn discovery(server: &DiscoveryStatus, now: i64) -> String {
    let contact = match &server.last_contact {
        Some(time) => format!("last contact {}", ago(Some(time), now)),
        None => "no contact yet".to_owned(),
    };
    if server.connected {
        format!(
            "{} connected, {} members, {contact}",
            server.url, server.members
        )
    } else {
        let error = server.error.as_deref().unwrap_or("connecting");
        format!("{} NOT connected, {contact}: {error}", server.url)
    }
}

fn problems(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(|problem| {
            format!(
                "  {}: {}\n    {}\n",
                clean(&problem.code),
                clean(&problem.message),
                clean(&problem.remedy)
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;
    use crate::sample;

    #[test]
    fn healthy_and_degraded_texts() {
        let status = sample::status();
        insta::assert_snapshot!("status", render(&status, sample::NOW, false));
        insta::assert_snapshot!(
            "status_degraded",
            render(&sample::degraded(), sample::NOW, true)
        );
    }

    #[test]
    fn documents() {
        let status = sample::degraded();
        let text = |format: Format| format.render(&status, |_| String::new()).unwrap();
        insta::assert_snapshot!("status_json", text(Format::Json));
        insta::assert_snapshot!("status_yaml", text(Format::Yaml));
    }

    #[test]
    fn informational_codes_are_documented() {
        let text = include_str!("../../../../docs/cli.md");
        for code in INFORMATIONAL {
            assert!(text.contains(&format!("`{code}`")), "{code}");
        }
    }

    #[test]
    fn only_what_needs_somebody_degrades() {
        let mut status = sample::status();
        assert_eq!(verdict(&status), Exit::Ok);
        status.problems = vec![sample::problem("zone_missing")];
        assert_eq!(verdict(&status), Exit::Ok);
        status.problems.push(sample::problem("clock_behind"));
        assert_eq!(verdict(&status), Exit::Degraded);
        status.problems.clear();
        status.peers_down = 1;
        assert_eq!(verdict(&status), Exit::Degraded);
    }
}
