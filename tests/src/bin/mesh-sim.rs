//! `mesh-sim`: random scenarios by seed, the hundred-node hour and the cost of probing, from the command
//! line. The tests of the simulator run the same; this needs no test build and serves profilers.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use mesh_tests::recovery::report::Report;
use mesh_tests::sim::recovery::{Strike, measure};
use mesh_tests::sim::{Bounds, Mode, Outcome, Scenario, Size, probing};

/// Runs the simulator.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Random scenarios; failing ones are shrunk and printed.
    Seeds {
        /// First seed.
        from: u64,
        /// One past the last.
        to: u64,
        /// At most so many nodes.
        #[arg(long, default_value_t = 6)]
        nodes: usize,
        /// So many disturbances.
        #[arg(long, default_value_t = 10)]
        steps: usize,
        /// One node in so many runs the kernel's WireGuard; 0: none.
        #[arg(long, default_value_t = 0)]
        kernel_every: usize,
        /// With leaves and joins, restarts of all, holes and outages while addresses change.
        #[arg(long)]
        wide: bool,
        /// Whoever can talk does so within so many seconds.
        #[arg(long)]
        talk_within: Option<u64>,
        /// The same behind two NATs.
        #[arg(long)]
        punch_within: Option<u64>,
        /// At most so many changes of path of one peer in a minute.
        #[arg(long)]
        switches: Option<usize>,
    },
    /// Strikes a pair with two ways and measures, as `mesh-lab recovery` does, in virtual time.
    Recovery {
        /// Its WireGuard.
        #[arg(long, default_value = "userspace")]
        backend: Backend,
        /// One scenario by name; all of them if not given.
        #[arg(long)]
        scenario: Option<String>,
        /// Each gives a sample per direction.
        #[arg(long, default_value_t = 100)]
        repetitions: u64,
    },
    /// What probing costs a node with 6, 100 and 1,000 peers, idle and busy, as a table.
    Probing {
        /// Other numbers of peers.
        #[arg(default_values_t = [6, 100, 1000])]
        peers: Vec<usize>,
    },
    /// Many nodes with churn and faults; by default a hundred for a virtual hour.
    Churn {
        /// How many.
        #[arg(default_value_t = 100)]
        nodes: usize,
        /// Disturbances, 19 s apart.
        #[arg(default_value_t = 170)]
        steps: usize,
        /// Seed.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Runs it twice; both must go the same way.
        #[arg(long)]
        twice: bool,
        /// Fails if a run takes longer, in seconds of this machine.
        #[arg(long)]
        within: Option<u64>,
    },
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Backend {
    Userspace,
    Kernel,
}

/// Starts this program again with memory in huge pages, a sixth faster with a hundred nodes: they are larger than
/// what the processor's tables of ordinary pages reach. Goes on as it is where that fails.
fn use_huge_pages() {
    const TUNABLES: &str = "GLIBC_TUNABLES";
    if std::env::var_os(TUNABLES).is_some() {
        return;
    }
    if let Ok(program) = std::env::current_exe() {
        let _ = std::process::Command::new(program)
            .args(std::env::args_os().skip(1))
            .env(TUNABLES, "glibc.malloc.hugetlb=1")
            .exec();
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    use_huge_pages();
    match args.command {
        Command::Seeds {
            from,
            to,
            nodes,
            steps,
            kernel_every,
            wide,
            talk_within,
            punch_within,
            switches,
        } => {
            let size = Size {
                nodes,
                steps,
                kernel_every,
                wide,
            };
            let usual = Bounds::default();
            let bounds = Bounds {
                talk_within: talk_within.map_or(usual.talk_within, Duration::from_secs),
                punch_within: punch_within.map_or(usual.punch_within, Duration::from_secs),
                switches_per_minute: switches.unwrap_or(usual.switches_per_minute),
                ..usual
            };
            let failed = (from..to).filter(|seed| fails(*seed, size, bounds)).count();
            anyhow::ensure!(failed == 0, "{failed} seeds fail");
            Ok(())
        }
        Command::Recovery {
            backend,
            scenario,
            repetitions,
        } => recovery(backend, scenario.as_deref(), repetitions),
        Command::Probing { peers } => table(&peers),
        Command::Churn {
            nodes,
            steps,
            seed,
            twice,
            within,
        } => {
            let scenario = Scenario::churn(seed, nodes, steps, Duration::from_secs(19));
            let first = timed(&scenario, within)?;
            if twice {
                let second = timed(&scenario, within)?;
                anyhow::ensure!(first == second, "the same seed went another way");
            }
            Ok(())
        }
    }
}

fn recovery(backend: Backend, scenario: Option<&str>, repetitions: u64) -> anyhow::Result<()> {
    let mode = match backend {
        Backend::Userspace => Mode::Userspace,
        Backend::Kernel => Mode::Kernel,
    };
    let mut report = Report::default();
    for strike in Strike::ALL {
        if scenario.is_some_and(|name| name != strike.name()) {
            continue;
        }
        let row = measure(strike, mode, repetitions);
        let row = row.map_err(|violation| anyhow::anyhow!("{}: {violation}", strike.name()))?;
        report.scenarios.push(row);
    }
    anyhow::ensure!(!report.scenarios.is_empty(), "no scenario has that name");
    say(report.table().trim_end())
}

/// Runs a scenario that must not fail, nor take longer than so many seconds.
fn timed(scenario: &Scenario, within: Option<u64>) -> anyhow::Result<Outcome> {
    let began = Instant::now();
    let outcome = scenario.run();
    let took = began.elapsed();
    let Outcome {
        trace,
        time,
        violation,
        checked,
    } = &outcome;
    let nodes = scenario.plan.nodes.len();
    say(&format!(
        "{nodes} nodes, {time:?} of virtual time in {took:?}, {checked} pairs checked, trace {trace:016x}"
    ))?;
    if let Some(violation) = violation {
        anyhow::bail!("{violation}\n{scenario}");
    }
    let late = within.is_some_and(|seconds| took > Duration::from_secs(seconds));
    anyhow::ensure!(!late, "it took {took:?}");
    Ok(outcome)
}

fn fails(seed: u64, size: Size, bounds: Bounds) -> bool {
    let scenario = Scenario::draw(seed, size, bounds);
    let Some(violation) = scenario.run().violation else {
        return false;
    };
    let small = scenario.shrink();
    let shrunk = small.run().violation;
    let text = format!("seed {seed}: {violation}\nshrunk: {shrunk:?}\n{small}");
    say(&text).is_ok()
}

fn table(peers: &[usize]) -> anyhow::Result<()> {
    say("| peers | state | bytes/s sent | packets/s sent | cores, all nodes together |")?;
    say("|---|---|---|---|---|")?;
    for count in peers {
        let cost = probing(*count).map_err(|violation| anyhow::anyhow!("{violation}"))?;
        let states = [
            ("start", cost.start),
            ("idle", cost.idle),
            ("busy", cost.busy),
        ];
        for (state, spent) in states {
            let cpu = spent
                .cpu
                .map_or_else(|| "?".to_owned(), |cpu| format!("{cpu:.4}"));
            let (bytes, packets) = (spent.bytes_per_second, spent.packets_per_second);
            say(&format!(
                "| {count} | {state} | {bytes:.0} | {packets:.0} | {cpu} |"
            ))?;
        }
    }
    Ok(())
}

fn say(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}").context("writing to stdout")
}
