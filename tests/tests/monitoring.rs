//! What dashboards and alerts ask for, compared with what a running mesh serves; rules pass promtool.

#![cfg(test)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use mesh_tests::lab::Plan;
use mesh_tests::lab::fixture::Fixture;
use mesh_tests::lab::namespace::Namespace;

/// Metrics that need something this mesh has not: a problem, kernel WireGuard, a fault.
const CONDITIONAL: [&str; 5] = [
    "meshd_problem",
    "meshd_netlink_messages_total",
    "discovery_rejects_total",
    "meshd_peer_loss_ratio",
    "meshd_peer_rtt_seconds",
];

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy")
        .join(file)
}

fn text(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap()
}

/// Names of our metrics in an expression or an exposition; those of a histogram by its own name.
fn names(text: &str) -> BTreeSet<String> {
    // What is in quotes is the value of a label.
    let unquoted: Vec<&str> = text.split('"').step_by(2).collect();
    unquoted
        .join(" ")
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with("meshd_") || word.starts_with("discovery_"))
        .map(|word| {
            let ends = ["_bucket", "_sum", "_count"];
            let end = ends.iter().find_map(|end| word.strip_suffix(end));
            end.unwrap_or(word).to_owned()
        })
        .collect()
}

/// Metrics that the dashboard and the rules ask for.
fn asked() -> BTreeSet<String> {
    let dashboard: serde_json::Value =
        serde_json::from_str(&text(&deploy("grafana/mesh.json"))).unwrap();
    let mut asked = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            asked.extend(names(target["expr"].as_str().unwrap()));
        }
    }
    let rules = text(&deploy("prometheus/mesh-alerts.yaml"));
    for line in rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr: "))
    {
        asked.extend(names(line));
    }
    assert!(asked.len() > 25, "{asked:?}");
    asked
}

fn scrape(from: &Namespace, address: &str, port: u16) -> String {
    let script = format!(
        "exec 3<>/dev/tcp/{address}/{port}; printf 'GET /metrics HTTP/1.0\\r\\nHost: x\\r\\n\\r\\n' >&3; cat <&3"
    );
    from.run("bash", &["-c", &script]).unwrap()
}

#[test]
fn every_metric_that_is_asked_for_is_served_and_documented() {
    let documented = names(&text(&deploy("../docs/metrics.md")));
    let unknown: Vec<_> = asked().difference(&documented).cloned().collect();
    assert!(unknown.is_empty(), "not in docs/metrics.md: {unknown:?}");

    let mut plan = Plan::new(2, 1).unwrap();
    plan.node_mut("a1").unwrap().settings =
        serde_json::json!({ "metrics": { "listen": "127.0.0.1:9740" } });
    let Some(fixture) = Fixture::running(plan) else {
        return;
    };
    let machine = fixture.lab.machine("a1").unwrap();
    let server = fixture.lab.plan.discovery_address();
    let mut served = names(&scrape(machine, "127.0.0.1", 9740));
    served.extend(names(&scrape(
        machine,
        &server.ip().to_string(),
        server.port(),
    )));
    let conditional = CONDITIONAL.map(str::to_owned);
    let missing: Vec<_> = asked()
        .into_iter()
        .filter(|name| !served.contains(name) && !conditional.contains(name))
        .collect();
    assert!(missing.is_empty(), "asked for and not served: {missing:?}");
    // Descriptions name counters and infos without their ending.
    let described = |name: &&String| {
        let with = |end: &str| documented.contains(&format!("{name}{end}"));
        !(with("") || with("_total") || with("_info"))
    };
    let silent: Vec<_> = served.iter().filter(described).collect();
    assert!(
        silent.is_empty(),
        "served and not in docs/metrics.md: {silent:?}"
    );
}

#[test]
fn alert_rules_pass_promtool() {
    let promtool = |arguments: &[&str]| {
        Command::new("promtool")
            .args(arguments)
            .current_dir(deploy("prometheus"))
            .output()
    };
    if promtool(&["--version"]).is_err() {
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            b"SKIPPED: no promtool here (apt-get install prometheus); .ci/steps/promtool has it\n",
        );
        return;
    }
    for arguments in [
        ["check", "rules", "mesh-alerts.yaml"],
        ["test", "rules", "mesh-alerts.test.yaml"],
    ] {
        let output = promtool(&arguments).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
    }
    // Every alert says what to do.
    let rules = text(&deploy("prometheus/mesh-alerts.yaml"));
    assert_eq!(
        rules.matches("alert: ").count(),
        rules.matches("remedy: ").count()
    );
}
