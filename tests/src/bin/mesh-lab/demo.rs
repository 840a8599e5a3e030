//! `demo`: runs the checks, prints a summary, writes JSON.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use clap::Args;
use mesh_tests::demo::{self, Options};
use mesh_tests::lab::{binaries, packages};

use crate::{interrupt, output};

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Write every check with its evidence to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Run only the check of this name, and what it needs
    #[arg(long)]
    only: Option<String>,
    /// Keep the lab running afterwards, until Ctrl-C
    #[arg(long)]
    keep: bool,
}

pub(crate) fn run(arguments: &Demo) -> anyhow::Result<ExitCode> {
    interrupt::end_on_signal()?;
    // Before minutes of building.
    arguments.only.as_deref().map_or(Ok(()), demo::check_name)?;
    packages::provide()?;
    let bin_dir = binaries::provide()?;
    let start = Instant::now();
    let options = Options {
        name: format!("demo-{}", std::process::id()),
        only: arguments.only.clone(),
        keep: arguments.keep,
    };
    let (report, kept) = demo::run(&options, &bin_dir, &output::note)?;
    output::line(&report.table());
    output::note(&format!("took {} s", start.elapsed().as_secs()));
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, text + "\n").with_context(|| format!("write {}", path.display()))?;
    }
    if let Some(stage) = kept {
        let name = &options.name;
        output::note(&format!(
            "the lab keeps running until Ctrl-C; look inside: cargo lab exec --name {name} a1 -- meshctl status; \
             files: {}",
            stage.lab.dir().display()
        ));
        loop {
            std::thread::park();
        }
    }
    if report.passed() {
        return Ok(ExitCode::SUCCESS);
    }
    output::note(&format!(
        "logs and captures, until the next run: /var/lib/mesh-lab/{}*",
        options.name
    ));
    Ok(ExitCode::FAILURE)
}
