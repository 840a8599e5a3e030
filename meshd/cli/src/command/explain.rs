//! `meshctl explain IP`: which rule, route, peer and path a packet takes, and why.

use std::fmt::Write as _;
use std::net::IpAddr;

use mesh_proto::control::{Explain, ExplainVerdict};

use super::Session;
use super::peers::optional;
use crate::failure::Failure;
use crate::table::clean;
use crate::units::UNKNOWN;

pub(super) fn run(session: &Session, address: IpAddr) -> Result<(), Failure> {
    let explain: Explain = session.client.get(&format!("/v1/explain/{address}"))?;
    session.print(&explain, |_| render(&explain))
}

fn render(explain: &Explain) -> String {
    let mut out = String::new();
    let mut line = |label: &str, text: &str| {
        let text = if text.is_empty() { UNKNOWN } else { text };
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{label:<9} {}", clean(text));
    };
    line("address", &explain.address.to_string());
    line("verdict", verdict(explain.verdict));
    line("rule", &explain.rule);
    line("route", explain.route.as_deref().unwrap_or_default());
    let peer = match (&explain.peer, explain.peer_state) {
        (Some(name), Some(state)) => format!("{name} ({state})"),
        (name, _) => optional(name.as_ref()),
    };
    line("peer", &peer);
    line("endpoint", &optional(explain.endpoint));
    for (index, step) in explain.steps.iter().enumerate() {
        let label = if index == 0 { "why" } else { "" };
        line(label, &format!("{}. {step}", index + 1));
    }
    out
}

const fn verdict(verdict: ExplainVerdict) -> &'static str {
    match verdict {
        ExplainVerdict::Tunnel => "tunnel: encrypted, to the peer below",
        ExplainVerdict::Native => "native: by the host's own routes, untouched",
        ExplainVerdict::Unreachable => "unreachable: held back rather than sent in clear",
        ExplainVerdict::Local => "local: this node itself",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;
    use crate::sample;

    #[test]
    fn texts_and_documents() {
        let explain = sample::explain();
        insta::assert_snapshot!("explain", render(&explain));
        let json = Format::Json.render(&explain, |_| String::new()).unwrap();
        insta::assert_snapshot!("explain_json", json);
        let native = Explain {
            verdict: ExplainVerdict::Native,
            route: None,
            peer: None,
            peer_state: None,
            endpoint: None,
            steps: Vec::new(),
            ..explain
        };
        insta::assert_snapshot!("explain_native", render(&native));
    }
}
