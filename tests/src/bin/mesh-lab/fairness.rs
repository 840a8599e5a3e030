//! `fairness`: what a flood to one peer leaves to another; prints a table, writes JSON.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use mesh_tests::fairness::{self, Options};
use mesh_tests::lab::{binaries, packages};

use crate::{interrupt, output};

#[derive(Debug, Args)]
pub(crate) struct Fairness {
    /// Repetitions of everything; each takes about a minute
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Length of one flow
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Write every measurement to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Fairness) -> anyhow::Result<ExitCode> {
    interrupt::end_on_signal()?;
    packages::provide()?;
    packages::provide_for_throughput()?;
    let bin_dir = binaries::provide()?;
    let options = Options {
        name: format!("fairness-{}", std::process::id()),
        rounds: arguments.rounds,
        length: Duration::from_secs(arguments.seconds),
    };
    let report = fairness::run(&options, &bin_dir, &output::note)?;
    output::line(report.table().trim_end());
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, text + "\n").with_context(|| format!("write {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}
