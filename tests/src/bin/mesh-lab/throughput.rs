//! `throughput`: compares with other implementations, prints medians and ratios, writes JSON.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use mesh_tests::lab::{binaries, packages};
use mesh_tests::throughput::{self, Options, Tools};

use crate::{interrupt, output};

#[derive(Debug, Args)]
pub(crate) struct Throughput {
    /// A further implementation, started as `PATH -f INTERFACE` and configured by wg(8)
    #[arg(long, value_name = "NAME=PATH", value_parser = named_path)]
    extra: Vec<(String, PathBuf)>,
    /// A further build of meshd, whose programs are in DIR: for the same rounds with and without a change
    #[arg(long, value_name = "NAME=DIR", value_parser = named_path)]
    build: Vec<(String, PathBuf)>,
    /// Write every measurement to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Rounds; in each every implementation has its turn
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Length of one measurement, seconds
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Only these implementations, separated by commas
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only these tests (tcp1, tcp4, udp64, ping, rss), separated by commas
    #[arg(long, value_delimiter = ',')]
    tests: Vec<String>,
    /// Turn the offloads of the link between both ends off, as where a network card has none
    #[arg(long)]
    plain_link: bool,
    /// TCP's congestion control of the streams (cubic, bbr, reno) instead of the host's
    #[arg(long)]
    congestion: Option<String>,
}

pub(crate) fn run(arguments: &Throughput) -> anyhow::Result<ExitCode> {
    interrupt::end_on_signal()?;
    packages::provide()?;
    packages::provide_for_throughput()?;
    let bin_dir = binaries::provide()?;
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench-tools");
    let tools = Tools::provide(&target, &arguments.only, &output::note)?;
    let options = Options {
        rounds: arguments.rounds,
        length: Duration::from_secs(arguments.seconds),
        extra: arguments.extra.clone(),
        builds: arguments.build.clone(),
        only: arguments.only.clone(),
        tests: arguments.tests.clone(),
        plain_link: arguments.plain_link,
        congestion: arguments.congestion.clone(),
    };
    let report = throughput::run(&options, &bin_dir, &tools, &output::note)?;
    output::line(&report.table());
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, text + "\n").with_context(|| format!("write {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn named_path(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => {
            Ok((name.to_owned(), PathBuf::from(path)))
        }
        _ => Err("give NAME=PATH".to_owned()),
    }
}
