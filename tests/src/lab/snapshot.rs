//! The network state of a machine as text lines, to see what a program changed.

use std::collections::BTreeSet;
use std::process::Command;

use super::error::LabError;
use super::namespace::{Namespace, checked};

/// What is looked at; IPv4 and IPv6, every table.
const VIEWS: [(&str, &[&str]); 6] = [
    ("link", &["-o", "link", "show"]),
    ("address", &["-o", "address", "show"]),
    ("rule", &["-4", "rule", "show"]),
    ("rule6", &["-6", "rule", "show"]),
    ("route", &["-4", "route", "show", "table", "all"]),
    ("route6", &["-6", "route", "show", "table", "all"]),
];

/// Links, addresses, rules and routes. A line that is there twice counts twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot(BTreeSet<String>);

impl Snapshot {
    /// State of a machine of the lab.
    ///
    /// # Errors
    /// If `ip` fails.
    pub fn of(machine: &Namespace) -> Result<Self, LabError> {
        Self::take(|arguments| machine.run("ip", arguments))
    }

    /// State of the host itself, with its firewall.
    ///
    /// # Errors
    /// If a command fails.
    pub fn of_host() -> Result<Self, LabError> {
        let run = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).output();
            checked(program, output.map_err(LabError::io(program))?)
        };
        let mut snapshot = Self::take(|arguments| run("ip", arguments))?;
        let rules = run("nft", &["--stateless", "list", "ruleset"])?;
        snapshot.add("nft", &rules);
        Ok(snapshot)
    }

    /// Lines that were not there `before`, with `+`, and lines that are gone, with `-`.
    #[must_use]
    pub fn changes_since(&self, before: &Self) -> Vec<String> {
        let gone = before.0.difference(&self.0).map(|line| format!("- {line}"));
        let new = self.0.difference(&before.0).map(|line| format!("+ {line}"));
        gone.chain(new).collect()
    }

    fn take(ip: impl Fn(&[&str]) -> Result<String, LabError>) -> Result<Self, LabError> {
        let mut snapshot = Self(BTreeSet::new());
        for (view, arguments) in VIEWS {
            snapshot.add(view, &ip(arguments)?);
        }
        Ok(snapshot)
    }

    fn add(&mut self, view: &str, text: &str) {
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        self.0
            .extend(lines.map(|line| format!("{view}: {}", steady(line))));
    }
}

/// A line without what changes by itself: lifetimes, and numbers of interfaces.
fn steady(line: &str) -> String {
    let mut words = Vec::new();
    let mut skip = false;
    let numbered = |word: &str| {
        word.strip_suffix(':')
            .is_some_and(|number| number.parse::<u32>().is_ok())
    };
    let is_link = line
        .split_whitespace()
        .nth(1)
        .is_some_and(|word| !word.starts_with("from"));
    let from = usize::from(is_link && line.split_whitespace().next().is_some_and(numbered));
    for word in line.split_whitespace().skip(from) {
        if skip {
            skip = false;
        } else if ["expires", "valid_lft", "preferred_lft", "hoplimit"].contains(&word) {
            skip = true;
        } else {
            words.push(word);
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes() {
        let snapshot =
            |lines: &[&str]| Snapshot(lines.iter().map(|line| (*line).to_owned()).collect());
        let (before, after) = (snapshot(&["a", "b"]), snapshot(&["b", "c"]));
        assert_eq!(after.changes_since(&before), ["- a", "+ c"]);
        assert_eq!(
            steady("fe80::/64 dev x expires 7sec pref low"),
            "fe80::/64 dev x pref low"
        );
    }
}
