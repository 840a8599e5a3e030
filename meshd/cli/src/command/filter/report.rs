//! What a filter program did: the document, and its tables.

use std::fmt::{self, Write as _};
use std::net::SocketAddr;

use mesh_proto::control::CONTROL_VERSION;
use meshd_core::filter::{FilterProgram, FilterTrace};
use serde::{Serialize, Serializer};

use super::Candidate;
use super::program::Program;
use crate::command::peers::join;
use crate::failure::Failure;
use crate::table::Table;

/// One program, tried.
#[derive(Debug)]
pub(super) struct Report {
    name: String,
    trace: FilterTrace<Candidate>,
    warnings: Vec<String>,
}

/// The document of `meshctl filter test`.
#[derive(Debug, Serialize)]
pub(super) struct Document {
    version: u32,
    filters: Vec<FilterDocument>,
}

#[derive(Debug, Serialize)]
struct FilterDocument {
    name: String,
    entries: Vec<EntryDocument>,
    candidates: Vec<CandidateDocument>,
    /// In order of preference.
    result: Vec<Candidate>,
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct EntryDocument {
    entry: String,
    added: Vec<Candidate>,
    removed: Vec<Candidate>,
    unchanged: Vec<Candidate>,
}

#[derive(Debug, Serialize)]
struct CandidateDocument {
    address: Candidate,
    kept: bool,
    decided_by: Option<usize>,
}

impl Report {
    /// Runs `program` over `candidates`.
    pub(super) fn new(program: &Program, candidates: &[Candidate]) -> Result<Self, Failure> {
        let name = &program.name;
        let parsed = FilterProgram::parse(&program.entries)
            .map_err(|error| Failure::Invalid(format!("{name}{error}")))?;
        let warnings = parsed.warnings();
        Ok(Self {
            name: name.clone(),
            trace: parsed.trace(candidates, |candidate| candidate.ip),
            warnings: warnings
                .iter()
                .map(|warning| {
                    let separator = if warning.index.is_none() { ": " } else { "" };
                    format!("{name}{separator}{warning}")
                })
                .collect(),
        })
    }

    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

pub(super) fn document(reports: &[Report]) -> Document {
    Document {
        version: CONTROL_VERSION,
        filters: reports.iter().map(filter_document).collect(),
    }
}

fn filter_document(report: &Report) -> FilterDocument {
    let entries = report.trace.entries.iter();
    let items = report.trace.items.iter();
    FilterDocument {
        name: report.name.clone(),
        entries: entries
            .map(|step| EntryDocument {
                entry: step.entry.to_string(),
                added: step.added.clone(),
                removed: step.removed.clone(),
                unchanged: step.unchanged.clone(),
            })
            .collect(),
        candidates: items
            .map(|item| CandidateDocument {
                address: item.item,
                kept: item.kept,
                decided_by: item.decided_by,
            })
            .collect(),
        result: report.trace.result.clone(),
        warnings: report.warnings.clone(),
    }
}

/// For each program: its entries, its candidates, its result.
pub(super) fn render(reports: &[Report]) -> String {
    let texts: Vec<String> = reports.iter().map(render_one).collect();
    texts.join("\n")
}

fn render_one(report: &Report) -> String {
    let mut entries = Table::new(&["#", "ENTRY", "ADDS", "REMOVES", "LEAVES"]);
    for (index, step) in report.trace.entries.iter().enumerate() {
        entries.row([
            index.to_string(),
            step.entry.to_string(),
            join(&step.added),
            join(&step.removed),
            join(&step.unchanged),
        ]);
    }
    let mut candidates = Table::new(&["CANDIDATE", "KEPT", "DECIDED-BY"]);
    for item in &report.trace.items {
        let entry = item
            .decided_by
            .and_then(|index| Some((index, report.trace.entries.get(index)?)));
        let decided = match entry {
            Some((index, step)) => format!("[{index}] {}", step.entry),
            None => "no entry contains it".to_owned(),
        };
        let kept = if item.kept { "yes" } else { "no" };
        candidates.row([item.item.to_string(), kept.to_owned(), decided]);
    }
    let mut out = format!("{}\n{}\n", report.name, entries.render());
    out.push_str(&candidates.render());
    let result = if report.trace.result.is_empty() {
        "nothing".to_owned()
    } else {
        join(&report.trace.result)
    };
    // Writing to a String cannot fail.
    let _ = writeln!(out, "\nresult, most preferred first: {result}");
    out
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

impl Serialize for Candidate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
