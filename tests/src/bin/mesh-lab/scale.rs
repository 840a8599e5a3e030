//! `scale`: how the mesh does with many members; prints a table, writes JSON.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use mesh_tests::lab::{binaries, packages};
use mesh_tests::scale::report::Report;
use mesh_tests::scale::{self, Options, peers, server};

use crate::{interrupt, output};

#[derive(Debug, Args)]
pub(crate) struct Scale {
    /// Real daemons, each in a zone of its own; the last one joins a mesh of all others. Again for more
    #[arg(long, value_name = "NODES", required_unless_present_any = ["members", "peers"], value_parser = clap::value_parser!(u16).range(2..=1000))]
    mesh: Vec<u16>,
    /// Members of each cluster of one discovery server, over real connections. Again for more
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=100_000))]
    members: Vec<u32>,
    /// One real daemon with so many stock WireGuard peers, played by this program. Again for more
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    peers: Vec<u16>,
    /// Clusters of that many members
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clusters: u32,
    /// Members that join at once
    #[arg(long, value_name = "N", default_value_t = 100)]
    storm: usize,
    /// Times a new node joins
    #[arg(long, value_name = "N", default_value_t = 10)]
    joins: usize,
    /// Write every sample to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Scale) -> anyhow::Result<ExitCode> {
    interrupt::end_on_signal()?;
    if !arguments.mesh.is_empty() || !arguments.peers.is_empty() {
        packages::provide()?;
    }
    let bin_dir = binaries::provide()?;
    let mut report = Report::default();
    for members in &arguments.members {
        let options = server::Options {
            members: *members as usize,
            clusters: arguments.clusters as usize,
            joins: arguments.joins,
            storm: arguments.storm,
            churn: server::CHURN,
            idle: server::IDLE,
        };
        report
            .runs
            .push(server::run(&options, &bin_dir, &output::note)?);
        write(&report, arguments)?;
    }
    for nodes in &arguments.mesh {
        let options = Options {
            name: format!("scale-{}", std::process::id()),
            nodes: usize::from(*nodes),
            joins: arguments.joins,
        };
        report
            .runs
            .push(scale::mesh(&options, &bin_dir, &output::note)?);
        write(&report, arguments)?;
    }
    for count in &arguments.peers {
        let name = format!("scale-{}", std::process::id());
        let run = peers::run(&name, *count, &bin_dir, &output::note)?;
        report.runs.push(run);
        write(&report, arguments)?;
    }
    output::line(report.table().trim_end());
    Ok(ExitCode::SUCCESS)
}

/// After each run, so that a later one that fails takes nothing along.
fn write(report: &Report, arguments: &Scale) -> anyhow::Result<()> {
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(report)?;
        std::fs::write(path, text + "\n").with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}
