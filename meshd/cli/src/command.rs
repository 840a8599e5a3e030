//! The commands, one file each. A command asks, renders with a pure function, and prints.

mod cluster;
mod completions;
mod events;
mod explain;
mod filter;
mod leave;
mod members;
mod paths;
mod peers;
mod ping;
mod showconf;
mod status;
mod topology;
mod version;

use serde::Serialize;

use crate::cli::{Cli, ClusterCommand, Command, FilterCommand};
use crate::client::Client;
use crate::clock;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};

/// What every command gets.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    format: Format,
    /// Seconds since 1970, for ages in tables.
    now: i64,
}

/// Runs the command of a command line.
pub(crate) fn run(cli: Cli) -> Result<Exit, Failure> {
    let session = Session {
        client: Client::new(cli.socket),
        format: cli.output,
        now: clock::now(),
    };
    match cli.command {
        Command::Status => return status::run(&session),
        Command::Peers => peers::run(&session),
        Command::Members => members::run(&session),
        Command::Paths { name } => paths::run(&session, &name),
        Command::Topology { format } => topology::run(&session, format),
        Command::Explain { address } => explain::run(&session, address),
        Command::Ping { name, count } => ping::run(&session, &name, count),
        Command::Events { follow } => events::run(&session, follow),
        Command::Filter(FilterCommand::Test(test)) => filter::run(&session, &test),
        Command::Cluster(ClusterCommand::Init { dir }) => cluster::init(&session, &dir),
        Command::Cluster(ClusterCommand::Id { file }) => cluster::id(&session, &file),
        Command::Showconf { as_peer } => showconf::run(&session, as_peer.as_deref()),
        Command::Leave { yes } => leave::run(&session, yes),
        Command::Completions { shell } => completions::run(shell),
        Command::Version => version::run(&session),
    }?;
    Ok(Exit::Ok)
}

impl Session {
    /// Prints a document in the chosen format.
    fn print<T: Serialize>(
        &self,
        document: &T,
        table: impl FnOnce(bool) -> String,
    ) -> Result<(), Failure> {
        output::data(&self.format.render(document, table)?)
    }

    /// A note for people; left out where a program reads.
    fn remark(&self, text: &str) {
        if self.format.is_table() {
            output::note(text);
        }
    }
}
