//! `recovery`: runs scenarios, prints the table, writes JSON with every sample.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use mesh_tests::lab::{binaries, packages};
use mesh_tests::recovery::report::Report;
use mesh_tests::recovery::scenario::{Fault, Scenario};
use mesh_tests::recovery::{self, Options, kubespan};

use crate::{interrupt, output};

#[derive(Debug, Args)]
pub(crate) struct Recovery {
    /// Scenario to run, again for more; a final * stands for anything. Without any: all, discovery
    /// alive; with --baseline: blackhole-both
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// Repetitions of each; default: 100, or 20 where one takes long
    #[arg(long, value_name = "N")]
    repetitions: Option<usize>,
    /// WireGuard implementation
    #[arg(long, value_enum, default_value_t = Backend::Userspace)]
    backend: Backend,
    /// Minutes of loss-1 and loss-5, with traffic and again without, and of saturated
    #[arg(long, default_value_t = 10.0, value_parser = minutes)]
    minutes: f64,
    /// Write every sample to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure stock WireGuard under this rule as well; takes about six minutes
    #[arg(long, value_enum)]
    baseline: Option<Baseline>,
    /// Repetitions of the baseline, side by side
    #[arg(long, value_name = "N", default_value_t = 4)]
    baseline_repetitions: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Backend {
    Userspace,
    Kernel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Baseline {
    /// Persistent keepalive 25 s, looked at every 30 s, down after 275 s without a handshake
    Kubespan,
}

pub(crate) fn run(arguments: &Recovery) -> anyhow::Result<ExitCode> {
    if arguments.backend == Backend::Kernel {
        bail!("this meshd has no kernel backend yet: leave --backend away, or say userspace");
    }
    let scenarios = scenarios(arguments)?;
    interrupt::end_on_signal()?;
    packages::provide()?;
    packages::provide_for_recovery()?;
    let bin_dir = binaries::provide()?;
    let options = Options {
        name: format!("recovery-{}", std::process::id()),
        scenarios,
        repetitions: arguments.repetitions,
        minutes: arguments.minutes,
    };
    let mut report = Report::default();
    let json = arguments.json.as_deref();
    // What is done stays done, whatever happens to the rest.
    let result = measure(arguments, &options, &bin_dir, &mut |row| {
        report.scenarios.push(row);
        write(json, &report)
    });
    output::line(report.table().trim_end());
    result?;
    Ok(ExitCode::SUCCESS)
}

fn measure(
    arguments: &Recovery,
    options: &Options,
    bin_dir: &Path,
    done: &mut dyn FnMut(recovery::report::Row) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut written = Ok(());
    recovery::run(options, bin_dir, &output::note, |row| {
        let result = done(row);
        if written.is_ok() {
            written = result;
        }
    })?;
    written?;
    if arguments.baseline == Some(Baseline::Kubespan) {
        let row = kubespan::run(arguments.baseline_repetitions, bin_dir, &output::note)?;
        done(row)?;
    }
    Ok(())
}

fn scenarios(arguments: &Recovery) -> anyhow::Result<Vec<Scenario>> {
    if arguments.scenario.is_empty() {
        let baseline = arguments.baseline.is_some();
        let wanted = |scenario: &Scenario| {
            !scenario.discovery_dead && (!baseline || scenario.fault == Fault::BlackholeBoth)
        };
        return Ok(Scenario::all().filter(wanted).collect());
    }
    let mut all = Vec::new();
    for pattern in &arguments.scenario {
        all.extend(Scenario::matching(pattern).map_err(anyhow::Error::msg)?);
    }
    Ok(all)
}

fn write(path: Option<&Path>, report: &Report) -> anyhow::Result<()> {
    let Some(path) = path else { return Ok(()) };
    let text = serde_json::to_string_pretty(report)?;
    std::fs::write(path, text + "\n").with_context(|| format!("write {}", path.display()))
}

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(minutes) if (0.01..=1440.0).contains(&minutes) => Ok(minutes),
        _ => Err("give a number of minutes from 0.01 to 1440".to_owned()),
    }
}
