//! `soak`: a long checked transfer, its report, and JSON.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use mesh_tests::lab::{binaries, packages};
use mesh_tests::soak::{self, Options};

use crate::{interrupt, output};

#[derive(Debug, Args)]
pub(crate) struct Soak {
    /// Length of the transfer; sessions are renewed every 120 s
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(5..=604_800))]
    seconds: u64,
    /// Write the report to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Soak) -> anyhow::Result<ExitCode> {
    interrupt::end_on_signal()?;
    packages::provide()?;
    let bin_dir = binaries::provide()?;
    let options = Options {
        name: format!("soak-{}", std::process::id()),
        length: Duration::from_secs(arguments.seconds),
    };
    let report = soak::run(&options, &bin_dir, &output::note)?;
    output::line(report.text().trim_end());
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, text + "\n").with_context(|| format!("write {}", path.display()))?;
    }
    Ok(match report.passed() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
