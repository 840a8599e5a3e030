//! meshctl: asks the mesh daemon over its control socket, and does a few things without it.
//!
//! It decides nothing: documents come from the daemon as they are defined in `mesh_proto::control`,
//! and are printed as tables, JSON or YAML. Data goes to stdout, notes to stderr.

#![forbid(unsafe_code)]

mod cli;
mod client;
mod clock;
mod command;
#[cfg(test)]
mod documentation;
mod exit;
mod failure;
mod output;
#[cfg(test)]
mod sample;
mod table;
mod units;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match command::run(cli::Cli::parse()) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output::note(&format!("meshctl: {failure}"));
            failure.exit().into()
        }
    }
}
