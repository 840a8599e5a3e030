//! Command line of the daemon. Everything else is in the configuration file.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// WireGuard mesh daemon: tunnels across zones, nothing in between.
#[derive(Debug, Parser)]
#[command(name = "meshd", version, disable_help_subcommand = true)]
pub struct Args {
    /// Configuration file.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/meshd/meshd.yaml",
        global = true
    )]
    pub config: PathBuf,

    /// Say what is wrong with the configuration and what will surprise, then exit (0 or 2).
    #[arg(long)]
    pub check: bool,
    /// Print every key of the configuration file with its type, default and meaning
    #[arg(long, conflicts_with = "check")]
    pub keys: bool,

    /// What to log, e.g. `info` or `meshd=debug,warn`; goes before `log` in the configuration.
    #[arg(long, value_name = "FILTER", env = "MESHD_LOG")]
    pub log: Option<String>,

    /// Something else than running the daemon.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What `meshd` can do besides running.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Remove every interface, route and rule a meshd with this configuration ever made.
    Cleanup,
}
