//! Reading filter programs from a file: a meshd.yaml, a YAML list, or one entry a line.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;

use crate::failure::Failure;

/// A configuration is a few kilobytes; anything larger is another file.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

const ENDPOINTS: &str = "filters.endpoints";
const PEER_ENDPOINTS: &str = "filters.peerEndpoints";

/// A list of entries as written, and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) name: String,
    pub(super) entries: Vec<String>,
}

impl Program {
    /// True for the program that decides which candidates of others are dialled.
    pub(super) fn is_for_peers(&self) -> bool {
        self.name == PEER_ENDPOINTS
    }
}

/// The part of a meshd.yaml that matters here; the daemon checks the rest.
#[derive(Debug, Deserialize)]
struct Config {
    filters: Option<Filters>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filters {
    endpoints: Option<Vec<String>>,
    peer_endpoints: Option<Vec<String>>,
}

/// Reads `file`, or stdin for `-`.
pub(super) fn load(file: &Path) -> Result<Vec<Program>, Failure> {
    let mut text = String::new();
    let reader: Box<dyn std::io::Read> = if file == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(fs::File::open(file).map_err(Failure::file("read", file))?)
    };
    reader
        .take(MAX_FILE_BYTES)
        .read_to_string(&mut text)
        .map_err(Failure::file("read", file))?;
    parse(&text, &file.display().to_string())
}

/// `origin` names the file in messages.
pub(super) fn parse(text: &str, origin: &str) -> Result<Vec<Program>, Failure> {
    let yaml = |error: serde_saphyr::Error| {
        Failure::Invalid(format!(
            "{origin}: {error}\nentries that begin with ! must be quoted in YAML: \"!10.0.0.0/8\""
        ))
    };
    let programs = match first_line(text) {
        None => Vec::new(),
        Some(line) if line.starts_with(['-', '[']) => {
            vec![list(ENDPOINTS, serde_saphyr::from_str(text).map_err(yaml)?)]
        }
        Some(_) if text.lines().any(is_key) => {
            let config: Config = serde_saphyr::from_str(text).map_err(yaml)?;
            let filters = config.filters;
            let (own, peers) = filters.map_or((None, None), |filters| {
                (filters.endpoints, filters.peer_endpoints)
            });
            own.map(|entries| list(ENDPOINTS, entries))
                .into_iter()
                .chain(peers.map(|entries| list(PEER_ENDPOINTS, entries)))
                .collect()
        }
        Some(_) => vec![list(ENDPOINTS, plain_lines(text))],
    };
    if programs.is_empty() {
        return Err(Failure::Invalid(format!(
            "{origin} has neither {ENDPOINTS} nor {PEER_ENDPOINTS}: without them nothing is filtered"
        )));
    }
    Ok(programs)
}

fn list(name: &str, entries: Vec<String>) -> Program {
    Program {
        name: name.to_owned(),
        entries,
    }
}

fn without_comment(line: &str) -> &str {
    line.split('#').next().unwrap_or_default().trim()
}

fn first_line(text: &str) -> Option<&str> {
    text.lines()
        .map(without_comment)
        .find(|line| !line.is_empty() && *line != "---")
}

/// A key at the left edge, as in `filters:`; no address looks like that.
fn is_key(line: &str) -> bool {
    line.starts_with(|c: char| c.is_ascii_alphabetic())
        && line.split_once(':').is_some_and(|(key, rest)| {
            key.bytes().all(|byte| byte.is_ascii_alphanumeric())
                && (rest.is_empty() || rest.starts_with([' ', '\t']))
        })
}

fn plain_lines(text: &str) -> Vec<String> {
    text.lines()
        .flat_map(|line| without_comment(line).split(','))
        .map(|entry| entry.trim().trim_matches(['"', '\'']).to_owned())
        .filter(|entry| !entry.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_kinds_of_files() {
        let want = ["0.0.0.0/0", "::/0", "!10.0.0.0/8"];
        for text in [
            "0.0.0.0/0\n::/0 # all\n\n!10.0.0.0/8\n",
            "0.0.0.0/0, ::/0, \"!10.0.0.0/8\"",
            "# x\n- 0.0.0.0/0\n- '::/0'\n- '!10.0.0.0/8'\n",
            "---\n['0.0.0.0/0', '::/0', '!10.0.0.0/8']\n",
            "node: {name: a}\nfilters:\n  endpoints:\n  - 0.0.0.0/0\n  - ::/0\n  - '!10.0.0.0/8'\n",
        ] {
            let programs = parse(text, "x").unwrap();
            assert_eq!(programs.len(), 1, "{text}");
            assert_eq!(programs[0].entries, want, "{text}");
            assert!(!programs[0].is_for_peers());
        }
        let both = "filters: {endpoints: ['::/0'], peerEndpoints: [10.0.0.0/8]}";
        let programs = parse(both, "x").unwrap();
        assert!(programs[1].is_for_peers());
        assert_eq!(programs[1].entries, ["10.0.0.0/8"]);
    }

    #[test]
    fn nothing_to_test_is_said() {
        for text in [
            "",
            "# only\n",
            "node: {name: a}\n",
            "filters: {}\n",
            "filters:\n",
        ] {
            let text = parse(text, "x").unwrap_err().to_string();
            assert!(
                text.starts_with("x has neither filters.endpoints nor"),
                "{text}"
            );
        }
    }

    #[test]
    fn an_unquoted_exclusion_is_not_swallowed() {
        let programs = parse("- 0.0.0.0/0\n- !10.0.0.0/8\n", "x");
        match programs {
            Err(failure) => assert!(failure.to_string().contains("must be quoted"), "{failure}"),
            Ok(programs) => assert_ne!(programs[0].entries.len(), 1, "{programs:?}"),
        }
    }
}
