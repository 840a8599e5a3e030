//! One repetition: wait for rest, strike at a random moment, wait for the stream, undo.

use std::thread;
use std::time::{Duration, Instant};

use super::net::{Side, Way};
use super::pair::{Pair, direction_to};
use super::random::Random;
use super::report::Row;
use super::scenario::Fault;
use super::stream::INTERVAL;
use super::strike;
use super::world::World;
use crate::lab::{LabError, wait};

/// The mesh is at rest when both nodes have sent by the same way, and the stream has flowed, this long.
const REST: Duration = Duration::from_millis(500);
/// Longest wait for rest.
const REST_LIMIT: Duration = Duration::from_secs(120);
/// Nodes that still use different ways then may go on doing so.
const AGREEMENT_LIMIT: Duration = Duration::from_secs(10);
/// The strike comes at random within this: longer than a probe cycle under traffic.
const CYCLE_MS: u64 = 1000;
/// A stream has recovered when it flowed this long, and not before [`EARLIEST`].
const SETTLED: Duration = Duration::from_millis(300);
/// Faults show by then.
const EARLIEST: Duration = Duration::from_millis(800);
/// A stream that has not come back by then counts as this long.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Runs one repetition and adds its samples to `row`. Returns what the nodes said meanwhile.
///
/// # Errors
/// If the mesh does not come to rest, or a command fails.
pub fn run(
    world: &mut World,
    fault: Fault,
    random: &mut Random,
    row: &mut Row,
) -> Result<Vec<String>, LabError> {
    let streamed = rest(world, None)?.other();
    // Over the addresses that the fault leaves alone.
    let pair = Pair::start(&world.net, streamed)?;
    let way = rest(world, Some(&pair))?;
    if way == streamed
        && matches!(
            fault,
            Fault::AddressReplaced | Fault::PeerAddressReplaced | Fault::LinkDown
        )
    {
        // The way changed meanwhile: begin again.
        drop(pair);
        return run(world, fault, random, row);
    }
    thread::sleep(Duration::from_millis(random.below(CYCLE_MS)));
    let mut before = numbers(world)?;
    for side in strike::restarted(fault) {
        // The new daemon counts from the beginning.
        before[*side as usize] = 0;
    }
    let start = strike::strike(world, fault, way)?;
    let end = recovered(&pair, fault, start);
    for to in Side::ALL {
        let sample = sample(&pair, to, fault, start, end);
        row.unrecovered += usize::from(sample >= LIMIT);
        row.add(direction_to(to), sample.as_secs_f64() * 1000.0);
    }
    let story = count(world, &mut before, row);
    strike::heal(world, fault, way)?;
    Ok(story)
}

/// Number of the last event of each node.
pub(super) fn numbers(world: &World) -> Result<[u64; 2], LabError> {
    let last = |side| -> Result<u64, LabError> {
        let events = world.events(side, 0)?.events;
        Ok(events.last().map_or(0, |event| event.number))
    };
    Ok([last(Side::A)?, last(Side::B)?])
}

/// Adds what happened since `last`, the numbers of the last events that were looked at, to a row.
/// Returns it in words.
pub(super) fn count(world: &World, last: &mut [u64; 2], row: &mut Row) -> Vec<String> {
    let mut story = Vec::new();
    for side in Side::ALL {
        let last = &mut last[side as usize];
        // One that does not answer has nothing to tell.
        let Ok(events) = world.events(side, *last) else {
            continue;
        };
        for event in events.events {
            *last = event.number;
            story.push(format!(
                "{} {}: {} {}",
                event.time,
                side.name(),
                event.kind,
                event.message
            ));
            row.switches += u64::from(event.kind == "path_switched");
            *row.events.entry(event.kind).or_default() += 1;
        }
    }
    story.sort();
    story
}

/// Waits until both nodes send by one way, and a stream flows; returns the way of `a`.
pub(super) fn rest(world: &World, pair: Option<&Pair>) -> Result<Way, LabError> {
    let start = Instant::now();
    let mut since = start;
    let mut last = None;
    let rested = wait::until("the mesh to rest", REST_LIMIT, || {
        let ways = world.ways().map_err(|error| error.to_string());
        let now = Instant::now();
        let agree = |ways: &[Way; 2]| ways[0] == ways[1] || start.elapsed() > AGREEMENT_LIMIT;
        match &ways {
            Ok(ways) if agree(ways) && last == Some(*ways) => {}
            _ => since = now,
        }
        last = ways.as_ref().ok().copied();
        let ways = ways?;
        // Without a stream two looks are enough: with it comes the real wait.
        let Some(pair) = pair else {
            return if agree(&ways) {
                Ok(ways[0])
            } else {
                Err(format!("ways are {ways:?}"))
            };
        };
        let long_enough = now.duration_since(since) >= REST;
        match now.checked_sub(REST) {
            Some(from) if long_enough && pair.flows_since(from) => Ok(ways[0]),
            _ => Err(format!(
                "the stream does not flow steadily, ways are {ways:?}"
            )),
        }
    })?;
    Ok(rested.0)
}

/// Waits until both directions flow again, or for [`LIMIT`]; returns the end of what is looked at.
fn recovered(pair: &Pair, fault: Fault, start: Instant) -> Instant {
    loop {
        thread::sleep(Duration::from_millis(20));
        let now = Instant::now();
        let waited = now.saturating_duration_since(start);
        let came = Side::ALL.into_iter().all(|to| {
            strike::restarted(fault).is_empty()
                || pair.to(to).arrivals().first_after(start).is_some()
        });
        let steady = now
            .checked_sub(SETTLED)
            .is_some_and(|from| pair.flows_since(from));
        if waited >= LIMIT || (waited >= EARLIEST && came && steady) {
            return now;
        }
    }
}

fn sample(pair: &Pair, to: Side, fault: Fault, start: Instant, end: Instant) -> Duration {
    let arrivals = pair.to(to).arrivals();
    if !strike::restarted(fault).is_empty() {
        let first = arrivals.first_after(start).unwrap_or(end);
        return first.saturating_duration_since(start);
    }
    arrivals.longest_gap(start, end).saturating_sub(INTERVAL)
}
