//! Strikes: how each fault is brought about, and how it is undone. Measures nothing.

use std::thread;
use std::time::{Duration, Instant};

use super::net::{Direction, Side, Way};
use super::scenario::Fault;
use super::world::{Clock, World};
use crate::lab::LabError;

/// Between the end of a daemon and the start of the next: no packet of the old one is on its way then.
const DEAD_TIME: Duration = Duration::from_millis(200);

/// What happens before the first repetition of a fault.
///
/// # Errors
/// If a command fails.
pub fn prepare(world: &World, fault: Fault) -> Result<(), LabError> {
    match fault {
        Fault::NatFlush => world.net.nat(),
        _ => Ok(()),
    }
}

/// What happens after the last one.
///
/// # Errors
/// If a command fails.
pub fn clean_up(world: &World, fault: Fault) -> Result<(), LabError> {
    match fault {
        Fault::NatFlush => world.net.end_nat(),
        _ => Ok(()),
    }
}

/// Strikes on the way in use; returns the instant from which recovery counts: just before the fault,
/// or the exec of the new process.
///
/// # Errors
/// If a command fails.
pub fn strike(world: &mut World, fault: Fault, way: Way) -> Result<Instant, LabError> {
    let start = Instant::now();
    match fault {
        Fault::BlackholeBoth => world.net.black_hole(way, Direction::Both)?,
        Fault::BlackholeOut => world.net.black_hole(way, Direction::Out)?,
        Fault::BlackholeIn => world.net.black_hole(way, Direction::In)?,
        Fault::LinkDown => world.net.link_down(Side::A, way)?,
        Fault::AddressReplaced => world.net.replace_address(Side::A, way)?,
        Fault::PeerAddressReplaced => world.net.replace_address(Side::B, way)?,
        Fault::NatFlush => world.net.forget(way)?,
        Fault::PeerRestart | Fault::BothRestart => return restart(world, fault, Clock::Right),
        Fault::ClockBehind => return restart(world, fault, Clock::HourBehind),
        Fault::Loss1 | Fault::Loss5 => {
            for way in Way::ALL {
                world.net.lose(way, fault.loss().unwrap_or_default())?;
            }
        }
        Fault::Saturated => {}
    }
    Ok(start)
}

/// Undoes it.
///
/// # Errors
/// If a command fails.
pub fn heal(world: &mut World, fault: Fault, way: Way) -> Result<(), LabError> {
    match fault {
        Fault::LinkDown => world.net.link_up(Side::A, way),
        Fault::ClockBehind => restart(world, fault, Clock::Right).map(|_| ()),
        Fault::BlackholeBoth
        | Fault::BlackholeOut
        | Fault::BlackholeIn
        | Fault::Loss1
        | Fault::Loss5 => world.net.heal(),
        Fault::AddressReplaced
        | Fault::PeerAddressReplaced
        | Fault::NatFlush
        | Fault::PeerRestart
        | Fault::BothRestart
        | Fault::Saturated => Ok(()),
    }
}

/// Whose daemon is another one after the strike: recovery counts from the exec then.
#[must_use]
pub const fn restarted(fault: Fault) -> &'static [Side] {
    match fault {
        Fault::PeerRestart | Fault::ClockBehind => &[Side::B],
        Fault::BothRestart => &Side::ALL,
        _ => &[],
    }
}

fn restart(world: &mut World, fault: Fault, clock: Clock) -> Result<Instant, LabError> {
    let sides = restarted(fault);
    for side in sides {
        world.kill_node(*side);
    }
    thread::sleep(DEAD_TIME);
    let mut first = None;
    for side in sides {
        let start = world.start_node(*side, clock)?;
        first = first.or(Some(start));
    }
    Ok(first.unwrap_or_else(Instant::now))
}
