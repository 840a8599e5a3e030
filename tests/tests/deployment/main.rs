//! The files in `deploy/` are what systemd, Talos and Kubernetes want, and agree with the binaries. Rules
//! of others are written here again, so that no cluster is needed; see each module.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod kubernetes;
mod release;
mod systemd;
mod talos;

use std::path::{Path, PathBuf};

use serde_json::Value;

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ has a parent")
        .join("deploy")
        .join(name)
}

fn text(name: &str) -> String {
    let path = deploy(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every document of a YAML file.
fn documents(text: &str) -> Vec<Value> {
    text.split("\n---\n")
        .map(|part| serde_saphyr::from_str(part).unwrap_or_else(|error| panic!("{error}\n{part}")))
        .collect()
}

/// What has to be there.
fn field<'a>(value: &'a Value, path: &str) -> &'a Value {
    value
        .pointer(path)
        .unwrap_or_else(|| panic!("no {path} in {value:#}"))
}

fn strings(value: &Value) -> Vec<&str> {
    let list = value
        .as_array()
        .unwrap_or_else(|| panic!("{value} is no list"));
    list.iter().map(|entry| entry.as_str().unwrap()).collect()
}

/// `meshd --check` would take this configuration.
fn is_a_configuration(text: &str) {
    if let Err(issues) = meshd::config::parse(text, "host-1") {
        panic!("{text}\n{issues:?}");
    }
}
