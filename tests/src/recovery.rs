//! Recovery: how long the stream between two nodes stops when something fails. Two dual-homed nodes,
//! the real daemons, faults on the routers, and every sample in the report.

pub mod arrivals;
pub mod kubespan;
pub mod loss;
pub mod net;
pub mod pair;
pub mod random;
pub mod repetition;
pub mod report;
pub mod saturation;
pub mod scenario;
pub mod stream;
pub mod strike;
pub mod world;

use std::path::Path;

use crate::lab::LabError;
use random::Random;
use report::Row;
use scenario::{Fault, Scenario};
use world::World;

/// A repetition slower than this is told with the nodes' events.
const SLOW_MS: f64 = 500.0;

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name of the lab.
    pub name: String,
    /// Which scenarios, in order.
    pub scenarios: Vec<Scenario>,
    /// Repetitions; none for each scenario's own number.
    pub repetitions: Option<usize>,
    /// Minutes of loss, with traffic and again without, and of saturation.
    pub minutes: f64,
}

/// Runs the scenarios one after the other in one world. `note` hears of progress, `done` gets the rows
/// as they are finished.
///
/// # Errors
/// If a world cannot be built, the mesh does not come to rest, or packets between the nodes were seen in
/// no tunnel: its files are kept then.
pub fn run(
    options: &Options,
    bin_dir: &Path,
    note: &dyn Fn(&str),
    mut done: impl FnMut(Row),
) -> Result<(), LabError> {
    let mut world = World::start(&options.name, bin_dir)?;
    let mut random = Random::new();
    for scenario in &options.scenarios {
        note(&format!("{scenario}"));
        let result = one(&mut world, *scenario, options, &mut random, note, &mut done);
        if let Err(error) = result {
            world.keep_files();
            note(&format!(
                "logs, until the next run: {}",
                world.dir().display()
            ));
            return Err(error);
        }
    }
    Ok(())
}

fn one(
    world: &mut World,
    scenario: Scenario,
    options: &Options,
    random: &mut Random,
    note: &dyn Fn(&str),
    done: &mut impl FnMut(Row),
) -> Result<(), LabError> {
    let fault = scenario.fault;
    if scenario.discovery_dead {
        world.kill_discovery();
    }
    world.net.take_clear_flows()?;
    strike::prepare(world, fault)?;
    if fault.loss().is_some() {
        for traffic in [true, false] {
            let suffix = if traffic { "" } else { "-idle" };
            let mut row = Row::new(format!("{scenario}{suffix}"), "userspace");
            loss::run(world, fault, options.minutes, traffic, &mut row)?;
            done(row);
        }
    } else if fault == Fault::Saturated {
        let mut row = Row::new(scenario.to_string(), "userspace");
        let rate = saturation::run(world, options.minutes, &mut row)?;
        note(&format!("{scenario}: {rate}"));
        done(row);
    } else {
        let mut row = Row::new(scenario.to_string(), "userspace");
        let repetitions = options.repetitions.unwrap_or(fault.repetitions());
        for number in 1..=repetitions {
            let story = repetition::run(world, fault, random, &mut row)?;
            let last: Vec<_> = row.samples_ms.iter().rev().take(2).rev().collect();
            note(&format!("{scenario} {number}/{repetitions}: {last:?} ms"));
            if last.iter().any(|ms| **ms > SLOW_MS) {
                story.iter().for_each(|line| note(&format!("    {line}")));
            }
        }
        done(row);
    }
    strike::clean_up(world, fault)?;
    let clear = world.net.take_clear_flows()?;
    if !clear.is_empty() {
        let flows = clear.join("; ");
        return Err(LabError::Unusable(format!(
            "{scenario}: in no tunnel: {flows}"
        )));
    }
    if scenario.discovery_dead {
        world.start_discovery()?;
    }
    Ok(())
}
