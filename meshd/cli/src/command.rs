//! The commands, one file each. A command asks, renders with a pure function, and prints.

mod cluster;
mod completions;
mod config;
mod debug;
mod events;
mod explain;
mod filter;
mod key;
mod leave;
mod member;
mod members;
mod netcheck;
mod pages;
mod paths;
mod peers;
mod ping;
mod routes;
mod showconf;
mod status;
mod test;
mod top;
mod topology;
mod ui;
mod version;

use std::thread;
use std::time::Duration;

use serde::Serialize;

use crate::cli::{
    Cli, ClusterCommand, Command, ConfigCommand, DebugCommand, FilterCommand, KeyCommand,
    MemberCommand,
};
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

/// Runs the command of a command line, again and again if told to watch.
pub(crate) fn run(cli: Cli) -> Result<Exit, Failure> {
    let client = match (cli.remote, cli.token_file) {
        (Some(address), Some(file)) => Client::remote(address, &file)?,
        _ => Client::new(cli.socket),
    };
    let mut session = Session {
        client,
        format: cli.output,
        now: clock::now(),
    };
    let Some(seconds) = cli.watch else {
        return once(&session, &cli.command);
    };
    if !may_watch(&cli.command) {
        return Err(Failure::Usage(
            "--watch goes with status, peers, members, paths, topology, routes and explain"
                .to_owned(),
        ));
    }
    output::clear();
    let mut exit = once(&session, &cli.command)?;
    while !output::is_closed() {
        thread::sleep(Duration::from_secs(seconds));
        session.now = clock::now();
        output::clear();
        match once(&session, &cli.command) {
            Ok(last) => exit = last,
            // It comes back: daemons are restarted.
            Err(failure @ Failure::Unreachable(_)) => output::note(&format!("meshctl: {failure}")),
            Err(failure) => return Err(failure),
        }
    }
    Ok(exit)
}

/// Commands that only look.
const fn may_watch(command: &Command) -> bool {
    matches!(
        command,
        Command::Status
            | Command::Peers
            | Command::Members
            | Command::Paths { .. }
            | Command::Topology(_)
            | Command::Routes
            | Command::Explain { .. }
    )
}

fn once(session: &Session, command: &Command) -> Result<Exit, Failure> {
    match command {
        Command::Status => return status::run(session),
        Command::Netcheck => return netcheck::run(session),
        Command::Test { junit } => return test::run(session, junit.as_deref()),
        Command::Top { interval, count } => return top::run(session, *interval, *count),
        Command::Config(ConfigCommand::Check { file }) => return config::check(file),
        Command::Config(ConfigCommand::Import { talos }) => config::import(session, talos),
        Command::Debug(DebugCommand::Bundle { to, config }) => {
            debug::bundle(session, to.clone(), config)
        }
        Command::Peers => peers::run(session),
        Command::Members => members::run(session),
        Command::Paths { name } => paths::run(session, name),
        Command::Topology(args) => topology::run(session, args),
        Command::Ui { listen } => ui::run(session, *listen),
        Command::Routes => routes::run(session),
        Command::Explain { address } => explain::run(session, *address),
        Command::Ping { name, count } => ping::run(session, name, *count),
        Command::Events { follow } => events::run(session, *follow),
        Command::Filter(FilterCommand::Test(test)) => filter::run(session, test),
        Command::Cluster(ClusterCommand::Init { dir }) => cluster::init(session, dir),
        Command::Cluster(ClusterCommand::Rotate { file, finish }) => {
            cluster::rotate(session, file, *finish)
        }
        Command::Cluster(ClusterCommand::Id { file }) => cluster::id(session, file),
        Command::Member(MemberCommand::Remove(change)) => member::remove(session, change),
        Command::Member(MemberCommand::Restore(change)) => member::restore(session, change),
        Command::Key(KeyCommand::Rotate { cut_external_peers }) => {
            key::rotate(session, *cut_external_peers)
        }
        Command::Showconf { as_peer } => showconf::run(session, as_peer.as_deref()),
        Command::Leave { yes } => leave::run(session, *yes),
        Command::Completions { shell } => completions::run(*shell),
        Command::Man { to } => pages::run(to.as_deref()),
        Command::Version => version::run(session),
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
