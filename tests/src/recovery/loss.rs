//! Minutes of random loss: nothing may switch and nothing may be torn down, with traffic and idle.

use std::thread;
use std::time::{Duration, Instant};

use super::net::Side;
use super::pair::{Pair, direction_to};
use super::repetition::{count, numbers, rest};
use super::report::Row;
use super::scenario::Fault;
use super::stream::INTERVAL;
use super::strike;
use super::world::World;
use crate::lab::LabError;

/// How often events are collected: the daemons keep only so many.
const COLLECT: Duration = Duration::from_secs(5);

/// Runs the loss for `minutes`, with the stream or without; one sample per direction with it.
///
/// # Errors
/// If the mesh does not come to rest, or a command fails.
pub fn run(
    world: &mut World,
    fault: Fault,
    minutes: f64,
    traffic: bool,
    row: &mut Row,
) -> Result<(), LabError> {
    let pair = Pair::start(&world.net, rest(world, None)?)?;
    let way = rest(world, Some(&pair))?;
    let pair = traffic.then_some(pair);
    let mut before = numbers(world)?;
    let start = strike::strike(world, fault, way)?;
    let end = start + Duration::from_secs_f64(minutes * 60.0);
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        thread::sleep(left.min(COLLECT));
        count(world, &mut before, row);
    }
    if let Some(pair) = pair {
        for to in Side::ALL {
            let gap = pair.to(to).arrivals().longest_gap(start, Instant::now());
            row.add(
                direction_to(to),
                gap.saturating_sub(INTERVAL).as_secs_f64() * 1000.0,
            );
        }
    }
    strike::heal(world, fault, way)
}
