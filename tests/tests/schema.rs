//! The published schemas of `docs/schema`, held against what `meshctl -o json` prints in a mesh that runs, with
//! one node down and a stock peer that never comes.

#![cfg(test)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mesh_tests::lab::fixture::{Fixture, PATIENCE};
use mesh_tests::lab::{Lab, Plan, meshctl, wait};
use mesh_tests::schema::faults;
use serde_json::{Value, json};

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema")
}

fn schema(name: &str) -> Value {
    let text = std::fs::read_to_string(dir().join(format!("{name}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// What a command prints on a node; every line of a document a line.
fn documents(lab: &Lab, node: &str, arguments: &[&str]) -> Vec<Value> {
    let mut command = lab.machine(node).unwrap().command("meshctl");
    let output = command
        .args(["-o", "json"])
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let stream = serde_json::Deserializer::from_str(&text).into_iter();
    let all: Vec<Value> = stream.map(|one| one.unwrap()).collect();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!all.is_empty(), "{arguments:?}: {error}");
    all
}

/// Commands with the schema of what they print.
const COMMANDS: [(&str, &[&str]); 16] = [
    ("status", &["status"]),
    ("peers", &["peers"]),
    ("members", &["members"]),
    ("paths", &["paths", "b1"]),
    ("paths", &["paths", "c1"]),
    ("topology", &["topology"]),
    ("routes", &["routes"]),
    ("explain", &["explain", "10.2.0.11"]),
    ("explain", &["explain", "10.3.0.11"]),
    ("explain", &["explain", "192.0.2.1"]),
    ("ping", &["ping", "b1", "-c", "2"]),
    ("netcheck", &["netcheck"]),
    ("test", &["test"]),
    ("events", &["events"]),
    ("showconf", &["showconf"]),
    ("version", &["version"]),
];

#[test]
fn every_schema_belongs_to_a_command() {
    let files = std::fs::read_dir(dir()).unwrap();
    let files: BTreeSet<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    let wanted = COMMANDS.map(|(name, _)| format!("{name}.json"));
    assert_eq!(files, BTreeSet::from(wanted));
    for (name, _) in COMMANDS {
        assert!(!faults(&schema(name), &json!({})).is_empty(), "{name}");
    }
}

#[test]
fn what_meshctl_prints_fits_its_schema() {
    let mut plan = Plan::new(3, 1).unwrap();
    plan.node_mut("a1").unwrap().settings = json!({ "externalPeers": [{
        "name": "stock",
        "publicKey": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
        "allowedIPs": ["10.77.0.0/16"],
    }] });
    let Some(fixture) = Fixture::running(plan) else {
        return;
    };
    let lab = &fixture.lab;
    let check = || {
        for (name, arguments) in COMMANDS {
            for document in documents(lab, "a1", arguments) {
                let faults = faults(&schema(name), &document);
                assert!(faults.is_empty(), "{arguments:?}: {faults:#?} {document}");
            }
        }
    };
    check();
    lab.kill("c1").unwrap();
    let machine = lab.machine("a1").unwrap();
    wait::until("a problem", PATIENCE, || {
        let status = meshctl::status(machine).map_err(|error| error.to_string())?;
        match status.problems.len() {
            0 => Err("none".to_owned()),
            _ => Ok(()),
        }
    })
    .unwrap();
    check();
}
