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
fn keys_known_to_the_reader() -> Vec<String> {
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
fn every_key_has_its_entry_and_nothing_else() {
    let known = keys_known_to_the_reader();
    let entries = keys();
    let listed: Vec<&str> = entries.iter().map(|key| key.path).collect();
    let within = |section: &String, path: &&str| path.starts_with(&format!("{section}."));
    for key in &known {
        let section = listed.iter().any(|path| within(key, path));
        assert!(
            section || listed.contains(&key.as_str()),
            "{key} is not in config/keys.rs"
        );
    }
    for path in listed {
        assert!(known.iter().any(|key| key == path), "{path} is not a key");
    }
}

/// A YAML document with `value` under `path`.
fn with(path: &str, value: &str) -> String {
    path.rsplit('.').fold(value.to_owned(), |inner, name| {
        match name.strip_suffix("[]") {
            Some(list) => format!("{{{list}: [{inner}]}}"),
            None => format!("{{{name}: {inner}}}"),
        }
    })
}

#[test]
fn a_value_of_another_type_than_the_entry_says_is_refused() {
    for key in keys() {
        let wrong: &[&str] = match key.kind {
            KeyType::Text | KeyType::Path => &["[a]", "{a: b}"],
            KeyType::Number | KeyType::NumberOrAuto => &["many", "[1]"],
            KeyType::Boolean => &["perhaps", "[true]"],
            KeyType::Texts | KeyType::Prefixes | KeyType::Filter | KeyType::Maps => {
                &["word", "{a: b}"]
            }
        };
        let refused = |value: &str| {
            let issues = parse(&with(key.path, value), "host-1").unwrap_err();
            let path = key.path.replace("[]", "[0]");
            issues.iter().any(|issue| issue.key == path)
        };
        for value in wrong {
            assert!(refused(value), "{}: {value} passes", key.path);
        }
        if key.kind == KeyType::NumberOrAuto {
            assert!(!refused("auto"), "{}", key.path);
        }
    }
}

#[test]
fn defaults_that_are_values_can_be_written_down() {
    for key in keys() {
        if let KeyDefault::Value(value) = &key.default {
            let document = with(key.path, value);
            let inner = document
                .strip_prefix('{')
                .and_then(|rest| rest.strip_suffix('}'));
            let text = format!("{MINIMAL}{}\n", inner.unwrap());
            let same = parse(&text, "host-1").map(|loaded| loaded.config);
            assert!(same.is_ok(), "{text}: {same:?}");
            assert_eq!(same.unwrap(), read(MINIMAL).config, "{text}");
        }
    }
}

#[test]
fn the_document_is_made_of_the_entries() {
    const BEGIN: &str = "writes it anew -->\n";
    const END: &str = "<!-- end of keys -->\n";
    let document = file("docs/configuration.md");
    let (before, rest) = document.split_once(BEGIN).unwrap();
    let (written, after) = rest.split_once(END).unwrap();
    let made = keys_as_markdown();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
        fs::write(path, format!("{before}{BEGIN}{made}{END}{after}")).unwrap();
        return;
    }
    assert!(
        written == made,
        "docs/configuration.md is not what config/keys.rs says: UPDATE_DOCS=1 cargo test --lib documents"
    );
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
