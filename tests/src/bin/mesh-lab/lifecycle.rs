//! `up`, `exec`, `down`, `list`. A lab that outlives its command belongs to a detached process that
//! waits for SIGTERM; if that process dies in any way, the kernel ends everything it owned.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use mesh_tests::lab::namespace::Entry;
use mesh_tests::lab::{Lab, Plan, binaries, packages, registry, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, dup2_stderr, dup2_stdout};

use crate::{interrupt, output};

/// The owner says this when everything runs.
const READY: &str = "ready";
/// How long the daemons get to find each other before `up` says they have not.
const TUNNEL_LIMIT: Duration = Duration::from_secs(30);
const DOWN_LIMIT: Duration = Duration::from_secs(20);

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Zones; from three on the last one is behind NAT
    #[arg(long, default_value_t = 3)]
    zones: u8,
    /// Nodes in each zone
    #[arg(long, default_value_t = 2)]
    nodes: u8,
    /// Name of the lab
    #[arg(long, default_value = "lab")]
    name: String,
    /// Build the networks, start no daemon
    #[arg(long)]
    no_daemons: bool,
    /// Stay in the foreground and own the lab
    #[arg(long, hide = true)]
    own: bool,
}

pub(crate) fn up(arguments: &Up) -> anyhow::Result<ExitCode> {
    if arguments.own {
        return own(arguments);
    }
    // Before minutes of building.
    Plan::new(arguments.zones, arguments.nodes)?;
    registry::check_name(&arguments.name)?;
    packages::provide()?;
    binaries::provide()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["up", "--own", "--name", &arguments.name]);
    command.args(["--zones", &arguments.zones.to_string()]);
    command.args(["--nodes", &arguments.nodes.to_string()]);
    if arguments.no_daemons {
        command.arg("--no-daemons");
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0);
    let mut owner = command.spawn().context("start the owner of the lab")?;
    let stdout = owner
        .stdout
        .take()
        .context("read from the owner of the lab")?;
    let ready = BufReader::new(stdout)
        .lines()
        .map_while(Result::ok)
        .any(|line| line == READY);
    if !ready {
        let status = owner.wait()?;
        bail!("the lab did not start ({status})");
    }
    describe(arguments);
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn exec(
    name: Option<&str>,
    machine: &str,
    command: &[String],
) -> anyhow::Result<ExitCode> {
    let run = registry::find(name)?;
    let Some(pid) = run.machines.get(machine) else {
        let names: Vec<_> = run.machines.keys().map(String::as_str).collect();
        bail!("no machine {machine}; there are {}", names.join(", "));
    };
    let (program, arguments) = command.split_first().context("no command given")?;
    let entry = Entry::of(*pid, &run.bin_dir)?;
    let mut command = entry.command_of_caller(program);
    command.args(arguments);
    // Only returns if it fails.
    Err(command.exec()).with_context(|| format!("run {program} on {machine}"))
}

pub(crate) fn down(name: Option<&str>) -> anyhow::Result<ExitCode> {
    for name in registry::remove_leftovers() {
        output::note(&format!("removed what {name} left"));
    }
    if name.is_none() && registry::live().is_empty() {
        output::note("no lab is running");
        return Ok(ExitCode::SUCCESS);
    }
    let run = registry::find(name)?;
    let owner = Pid::from_raw(i32::try_from(run.owner)?);
    kill(owner, Signal::SIGTERM).context("stop the owner of the lab")?;
    wait::until(
        "the end of the lab",
        DOWN_LIMIT,
        || match registry::is_alive(&run) {
            true => Err(format!("process {owner} runs")),
            false => Ok(()),
        },
    )?;
    registry::remove_leftovers();
    output::note(&format!("{} is down", run.name));
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn list() -> anyhow::Result<ExitCode> {
    for run in registry::live() {
        let names: Vec<_> = run.machines.keys().map(String::as_str).collect();
        output::line(&format!(
            "{}  owner {}  {}",
            run.name,
            run.owner,
            names.join(" ")
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds the lab and holds it until a signal ends it.
fn own(arguments: &Up) -> anyhow::Result<ExitCode> {
    interrupt::end_on_signal()?;
    let plan = Plan::new(arguments.zones, arguments.nodes)?;
    let bin_dir = binaries::provide()?;
    let lab = Lab::build(&arguments.name, plan, &bin_dir)?;
    if !arguments.no_daemons {
        lab.start_all()?;
        let names: Vec<_> = lab.plan.nodes().map(|node| node.name.as_str()).collect();
        match lab.wait_tunnels(&names, TUNNEL_LIMIT) {
            Ok(took) => output::note(&format!(
                "all tunnels are up after {:.1} s",
                took.as_secs_f64()
            )),
            Err(error) => output::note(&format!("warning: {error}")),
        }
    }
    output::line(READY);
    let_go_of_caller(&lab)?;
    loop {
        std::thread::park();
    }
}

/// Whoever waits for the end of the caller's output would wait as long as the lab lives.
fn let_go_of_caller(lab: &Lab) -> anyhow::Result<()> {
    let log = std::fs::File::create(lab.dir().join("owner.log"))?;
    dup2_stdout(&log)?;
    dup2_stderr(&log)?;
    Ok(())
}

fn describe(arguments: &Up) {
    let name = &arguments.name;
    output::note(&format!(
        "{name} is up: {} zones of {} nodes. Look inside:",
        arguments.zones, arguments.nodes
    ));
    let exec = match name.as_str() {
        "lab" => "cargo lab exec".to_owned(),
        name => format!("cargo lab exec --name {name}"),
    };
    for example in [
        "a1 -- meshctl status",
        "a1 -- meshctl topology",
        "a1 -- wg show",
        "a1-pod -- ping 10.244.21.2",
        "backbone -- tcpdump -ni any udp",
    ] {
        output::note(&format!("    {exec} {example}"));
    }
    output::note(&format!("End it: cargo lab down --name {name}"));
}
