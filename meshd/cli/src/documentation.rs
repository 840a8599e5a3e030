//! Keeps `docs/cli.md` true: every command, every option and every field of a document is in it.

use clap::CommandFactory as _;
use serde::Serialize;
use serde_json::Value;

use crate::cli::Cli;
use crate::sample;

const TEXT: &str = include_str!("../../../docs/cli.md");

fn commands(command: &clap::Command, path: &str, missing: &mut Vec<String>) {
    for option in command.get_arguments().filter_map(clap::Arg::get_long) {
        let known = ["help", "version"].contains(&option);
        if !known && !TEXT.contains(&format!("--{option}")) {
            missing.push(format!("--{option} of {path}"));
        }
    }
    let children: Vec<_> = command.get_subcommands().collect();
    if children.is_empty() && !TEXT.contains(&format!("\n### {path}")) {
        missing.push(path.to_owned());
    }
    for child in children {
        let path = format!("{path} {}", child.get_name());
        commands(child, path.trim_start(), missing);
    }
}

#[test]
fn every_command_and_option_is_documented() {
    let mut missing = Vec::new();
    commands(&Cli::command(), "", &mut missing);
    assert!(missing.is_empty(), "not in docs/cli.md: {missing:?}");
}

/// Names of all fields, nested ones included.
fn fields(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                into.push(name.clone());
                fields(value, into);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| fields(value, into)),
        _ => {}
    }
}

#[test]
fn every_field_is_documented() {
    fn collect<T: Serialize>(document: &T, into: &mut Vec<String>) {
        fields(&serde_json::to_value(document).unwrap(), into);
    }
    let mut names = Vec::new();
    collect(&sample::status(), &mut names);
    collect(&sample::degraded(), &mut names);
    collect(&sample::peers(), &mut names);
    collect(&sample::members(), &mut names);
    collect(&sample::paths(), &mut names);
    collect(&sample::events(), &mut names);
    collect(&sample::pinged(), &mut names);
    collect(&sample::topology(), &mut names);
    collect(&sample::routes(), &mut names);
    collect(&sample::explain(), &mut names);
    names.sort();
    names.dedup();
    let words: Vec<&str> = TEXT
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .collect();
    names.retain(|name| !words.contains(&name.as_str()));
    assert!(names.is_empty(), "not in docs/cli.md: {names:?}");
}
