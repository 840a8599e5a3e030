//! How fast packets pass through the tunnel, compared with other WireGuard implementations: the same two
//! namespaces, the same run, one after the other in every round. Only ratios inside a round mean
//! something; machines drift.

mod cpu;
mod datagrams;
mod instruments;
mod report;
mod rig;
mod subject;
mod tools;

pub use report::{Report, Row};
pub use tools::Tools;

use std::path::Path;
use std::time::Duration;

use crate::lab::LabError;
use instruments::{Direction, Reading};
use rig::Rig;
use subject::Running;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Options {
    /// Rounds; in each every implementation has its turn.
    pub rounds: u32,
    /// Length of one measurement.
    pub length: Duration,
    /// Further implementations: name and program, started as `PROGRAM -f INTERFACE` and configured by
    /// wg(8).
    pub extra: Vec<(String, std::path::PathBuf)>,
    /// Further builds of meshd: name and directory of its programs.
    pub builds: Vec<(String, std::path::PathBuf)>,
    /// Only these implementations; all if empty.
    pub only: Vec<String>,
    /// Only these tests; all if empty.
    pub tests: Vec<String>,
    /// Turns off segmentation and receive offloads of the link between both ends.
    pub plain_link: bool,
    /// TCP's congestion control of the streams, instead of the host's.
    pub congestion: Option<String>,
}

impl Options {
    fn wants(&self, test: &str) -> bool {
        self.tests.is_empty() || self.tests.iter().any(|wanted| wanted == test)
    }
}

/// Measures. `note` is told what happens.
///
/// # Errors
/// If the rig cannot be built. An implementation that fails is told and left out of that round.
pub fn run(
    options: &Options,
    bin_dir: &Path,
    tools: &Tools,
    note: &dyn Fn(&str),
) -> Result<Report, LabError> {
    let rig = Rig::build(bin_dir, options.plain_link)?;
    let subjects = subject::all(bin_dir, tools, options);
    if subjects.is_empty() {
        return Err(LabError::Unusable(
            "no implementation of these names: meshd, boringtun, boringtun-1, gotatun, \
             wireguard-go, native, veth or one given by --extra or --build"
                .to_owned(),
        ));
    }
    let mut report = Report {
        congestion: match &options.congestion {
            Some(name) => name.clone(),
            None => rig.congestion()?,
        },
        ..Report::default()
    };
    for round in 1..=options.rounds {
        for subject in &subjects {
            note(&format!(
                "round {round} of {}: {}",
                options.rounds, subject.name
            ));
            match subject.start(&rig) {
                Ok(running) => {
                    let name = &subject.name;
                    let rows = measure(options, &rig, name, &running, round, note);
                    report.rounds.extend(rows);
                    running.stop();
                }
                Err(error) => note(&format!("{} in round {round}: {error}", subject.name)),
            }
        }
    }
    Ok(report)
}

/// All tests that are wanted; one that fails is told and left out.
fn measure(
    options: &Options,
    rig: &Rig,
    name: &str,
    running: &Running,
    round: u32,
    note: &dyn Fn(&str),
) -> Vec<Row> {
    let length = options.length;
    let mut rows = Vec::new();
    let mut keep = |test: &str, result: Result<Vec<Reading>, LabError>| match result {
        Ok(readings) => rows.extend(readings.into_iter().map(|reading| Row {
            round,
            implementation: name.to_owned(),
            test: format!("{test}{}", reading.suffix),
            value: reading.value,
            unit: reading.unit.to_owned(),
            cpu_s_per_gbit: reading.cpu_s_per_gbit,
            daemon_cpu_s_per_gbit: reading.daemon_cpu_s_per_gbit,
        })),
        Err(error) => note(&format!("{name}, {test} in round {round}: {error}")),
    };
    for (test, streams) in [("tcp1", 1), ("tcp4", 4)] {
        if options.wants(test) {
            for direction in [Direction::There, Direction::Back] {
                let result = instruments::tcp(rig, running, streams, direction, options);
                keep(test, result);
            }
        }
    }
    if options.wants("rss") && !running.pids().is_empty() {
        keep("rss", Ok(instruments::memory(running)));
    }
    if options.wants("udp64") {
        keep("udp64", datagrams::highest_rate(rig, running, length));
    }
    if options.wants("ping") {
        keep("ping", instruments::ping(rig, running));
        let loaded = instruments::ping_under_load(rig, running, length);
        keep("ping-load", loaded);
    }
    rows
}
