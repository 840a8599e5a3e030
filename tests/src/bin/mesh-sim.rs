//! `mesh-sim`: random scenarios by seed, the hundred-node hour and the cost of probing, from the command
//! line. The tests of the simulator run the same; this needs no test build and serves profilers.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use mesh_tests::sim::{Bounds, Scenario, Size};

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
    },
    /// Many nodes with churn and faults.
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
    },
}

fn main() -> anyhow::Result<()> {
    match Args::parse().command {
        Command::Seeds {
            from,
            to,
            nodes,
            steps,
            kernel_every,
        } => {
            let size = Size {
                nodes,
                steps,
                kernel_every,
            };
            let failed = (from..to).filter(|seed| fails(*seed, size)).count();
            anyhow::ensure!(failed == 0, "{failed} seeds fail");
            Ok(())
        }
        Command::Churn { nodes, steps, seed } => {
            let began = Instant::now();
            let outcome = Scenario::churn(seed, nodes, steps, Duration::from_secs(19)).run();
            say(&format!("{outcome:?} in {:?}", began.elapsed()))?;
            anyhow::ensure!(outcome.violation.is_none(), "a violation");
            Ok(())
        }
    }
}

fn fails(seed: u64, size: Size) -> bool {
    let scenario = Scenario::draw(seed, size, Bounds::default());
    let Some(violation) = scenario.run().violation else {
        return false;
    };
    let small = scenario.shrink();
    let shrunk = small.run().violation;
    let text = format!("seed {seed}: {violation}\nshrunk: {shrunk:?}\n{small}");
    say(&text).is_ok()
}

fn say(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}").context("writing to stdout")
}
