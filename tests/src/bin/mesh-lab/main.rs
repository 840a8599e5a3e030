//! `mesh-lab`: a mesh of namespaces on one machine, to look into and to check.

mod demo;
mod fairness;
mod interrupt;
mod lifecycle;
mod output;
mod recovery;
mod scale;
mod soak;
mod throughput;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    version,
    about = "A WireGuard mesh on one machine: zones, routers, NAT and pods made of namespaces"
)]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Build zones and nodes, start the daemons, and leave them running
    Up(lifecycle::Up),
    /// Run a command on a machine of a running lab: `exec a1 -- meshctl status`
    Exec {
        /// Name of the lab, if several run
        #[arg(long)]
        name: Option<String>,
        /// A node (a1), its pod (a1-pod), router-a, backbone or discovery
        machine: String,
        /// Command and arguments
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// End a running lab
    Down {
        /// Name of the lab, if several run
        #[arg(long)]
        name: Option<String>,
    },
    /// List running labs and their machines
    List,
    /// Show that the mesh does what it promises; exits 1 if it does not
    Demo(demo::Demo),
    /// Measure how long traffic between two nodes stops when something fails
    Recovery(recovery::Recovery),
    /// Measure how long a new node takes to reach every member, and what a daemon costs
    Scale(scale::Scale),
    /// Compare the tunnel's throughput with other WireGuard implementations
    Throughput(throughput::Throughput),
    /// Measure what a flood to one peer leaves to another
    Fairness(fairness::Fairness),
    /// Send checked packets through a tunnel for a long time, over several rekeys; exits 1 if any is lost
    Soak(soak::Soak),
    /// Run a shell command in a virtual machine that has kernel WireGuard and netem
    Vm(vm::RunInVm),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Action::Up(up) => lifecycle::up(&up),
        Action::Exec {
            name,
            machine,
            command,
        } => lifecycle::exec(name.as_deref(), &machine, &command),
        Action::Down { name } => lifecycle::down(name.as_deref()),
        Action::List => lifecycle::list(),
        Action::Demo(options) => demo::run(&options),
        Action::Recovery(options) => recovery::run(&options),
        Action::Scale(options) => scale::run(&options),
        Action::Throughput(options) => throughput::run(&options),
        Action::Fairness(options) => fairness::run(&options),
        Action::Soak(options) => soak::run(&options),
        Action::Vm(options) => vm::run(&options),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            output::note(&format!("mesh-lab: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
