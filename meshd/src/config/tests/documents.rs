//! The example files and `docs/configuration.md` agree with what is read.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use super::super::*;
use super::{MINIMAL, read};

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every key, by asking each section for one it does not know.
fn keys() -> Vec<String> {
    let mut keys = Vec::new();
    for (prefix, text) in [
        ("", "?: 1"),
        ("cluster.", "cluster: {?: 1}"),
        ("node.", "node: {?: 1}"),
        ("node.zoneRules[].", "node: {zoneRules: [{?: 1}]}"),
        ("discovery.", "discovery: {?: 1}"),
        ("wireguard.", "wireguard: {?: 1}"),
        ("topology.", "topology: {?: 1}"),
        ("filters.", "filters: {?: 1}"),
        ("networks.", "networks: {?: 1}"),
        ("routing.", "routing: {?: 1}"),
        ("routing.bypass[].", "routing: {bypass: [{?: 1}]}"),
        ("externalPeers[].", "externalPeers: [{?: 1}]"),
        ("metrics.", "metrics: {?: 1}"),
        ("remote.", "remote: {?: 1}"),
    ] {
        let issues = parse(&text.replace('?', "x-x-x-x-x-x"), "host-1").unwrap_err();
        let list = issues
            .iter()
            .find_map(|issue| {
                issue
                    .message
                    .strip_prefix("unknown key; the keys here are: ")
            })
            .unwrap_or_else(|| panic!("{text}: {issues:?}"));
        keys.extend(list.split(", ").map(|key| format!("{prefix}{key}")));
    }
    keys
}

#[test]
fn every_key_is_documented_and_nothing_else() {
    let document = file("docs/configuration.md");
    let rows = document.lines().filter_map(|line| {
        let key = line.strip_prefix("| `")?.split_once('`')?.0;
        (!key.contains(".key") && !key.contains(".json") && !key.contains(".lock")).then_some(key)
    });
    let documented: Vec<_> = rows.collect();
    let sections = [
        "cluster",
        "node",
        "discovery",
        "wireguard",
        "topology",
        "filters",
        "networks",
        "routing",
        "metrics",
        "remote",
    ];
    let keys = keys();
    for key in &keys {
        let known = sections.contains(&key.as_str()) || documented.contains(&key.as_str());
        assert!(known, "{key} is not in docs/configuration.md");
    }
    for row in documented {
        assert!(
            keys.iter().any(|key| key == row),
            "{row} is documented and not a key"
        );
    }
}

#[test]
fn documented_defaults_are_the_defaults() {
    let document = file("docs/configuration.md");
    for (key, default) in [
        ("wireguard.interface", DEFAULT_INTERFACE.to_owned()),
        ("wireguard.listenPort", DEFAULT_LISTEN_PORT.to_string()),
        ("routing.table", DEFAULT_ROUTING.table.to_string()),
        (
            "routing.rulePriority",
            DEFAULT_ROUTING.rule_priority.to_string(),
        ),
        (
            "routing.mark",
            format!(
                "\"{:#x}/{:#x}\"",
                DEFAULT_ROUTING.mark, DEFAULT_ROUTING.mask
            ),
        ),
        ("routing.protocol", DEFAULT_ROUTING.protocol.to_string()),
        ("stateDir", DEFAULT_STATE_DIR.to_owned()),
        ("controlSocket", DEFAULT_CONTROL_SOCKET.to_owned()),
        ("log", DEFAULT_LOG.to_owned()),
    ] {
        let row = format!("| `{key}` | `{default}` |");
        assert!(document.contains(&row), "no row {row}");
    }
}

#[test]
fn the_example_is_right_and_surprises_nobody() {
    let loaded = read(&file("deploy/examples/meshd.yaml"));
    assert_eq!(loaded.warnings, [""; 0]);
    assert_eq!(loaded.config.node.zone, Zone::Label("fra".into()));
}

#[test]
fn ready_made_filters_do_what_they_say() {
    let addresses: Vec<IpAddr> = [
        "10.1.2.3",
        "192.168.1.5",
        "203.0.113.7",
        "fd00::1",
        "2001:db8::1",
    ]
    .iter()
    .map(|text| text.parse().unwrap())
    .collect();
    for (name, expected) in [
        ("filters-public-only.yaml", &[2, 4][..]),
        ("filters-private-only.yaml", &[0, 1, 3]),
    ] {
        let text = file(&format!("deploy/examples/{name}"));
        let loaded = read(&format!("{MINIMAL}node: {{zone: a}}\n{text}"));
        assert_eq!(loaded.warnings, [""; 0], "{name}");
        let program = loaded.config.filters.endpoints.unwrap();
        let expected: Vec<_> = expected.iter().map(|index| addresses[*index]).collect();
        assert_eq!(
            program.run(&addresses, |address| *address),
            expected,
            "{name}"
        );
    }
}

#[test]
fn the_servers_example_is_accepted_by_the_server() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/discovery-server.yaml");
    let flags = discovery_server::settings::Flags {
        config: Some(path),
        ..Default::default()
    };
    let settings = discovery_server::settings::Settings::resolve(flags).unwrap();
    assert_eq!(settings.listen.port(), 7400);
}
