//! `vm`: runs a command in a virtual machine that has kernel WireGuard and netem.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use mesh_tests::vm::Vm;

use crate::output;

#[derive(Debug, Args)]
pub(crate) struct RunInVm {
    /// Seconds after which the machine is switched off
    #[arg(long, default_value_t = 600)]
    within: u64,
    /// Shell command, run as root over the files of this machine; what it writes outside /mnt is lost
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

pub(crate) fn run(arguments: &RunInVm) -> anyhow::Result<ExitCode> {
    let vm = Vm::find()?;
    output::note(&format!("starting kernel {} under emulation", vm.kernel()));
    let command = arguments.command.join(" ");
    let outcome = vm.run(&command, Duration::from_secs(arguments.within))?;
    output::line(outcome.output.trim_end());
    Ok(ExitCode::from(u8::try_from(outcome.status).unwrap_or(1)))
}
