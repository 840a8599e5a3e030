//! Recovery in virtual time: the scenarios of `mesh-lab recovery` that a pair with two ways between them
//! can go through, measured as there, for the backends that a lab cannot run everywhere.

use std::time::Duration;

use super::chance::Chance;
use super::checks::Violation;
use super::engine::Mode;
use super::net::{Area, INTERNET};
use super::plan::{NodePlan, Plan};
use super::world::{Fault, World};
use super::{Bounds, Memory};
use crate::recovery::report::Row;

/// Between packets of the stream, each way.
const TICK: Duration = Duration::from_millis(5);
/// Until a pair uses its best path and is calm.
const WARM_UP: Duration = Duration::from_secs(15);
/// The moment of the strike is random within this.
const PROBE_CYCLE: Duration = Duration::from_secs(1);
/// A stream that is not back by then is not recovered.
const LIMIT: Duration = Duration::from_secs(20);
const RESTART: Duration = Duration::from_millis(200);
const FOR_EVER: Duration = Duration::from_secs(100_000);

/// What happens to the pair `a` and `b`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strike {
    /// The way in use drops everything.
    BlackholeBoth,
    /// It drops what `a` sends.
    BlackholeOut,
    /// It drops what `b` sends.
    BlackholeIn,
    /// The link in use of `a` goes down.
    LinkDown,
    /// The address in use of `a` is replaced.
    AddressReplaced,
    /// `b` is killed and starts again.
    PeerRestart,
}

impl Strike {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::BlackholeBoth,
        Self::BlackholeOut,
        Self::BlackholeIn,
        Self::LinkDown,
        Self::AddressReplaced,
        Self::PeerRestart,
    ];

    /// The name `mesh-lab` has for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BlackholeBoth => "blackhole-both",
            Self::BlackholeOut => "blackhole-out",
            Self::BlackholeIn => "blackhole-in",
            Self::LinkDown => "link-down",
            Self::AddressReplaced => "address-replaced",
            Self::PeerRestart => "peer-restart",
        }
    }

    fn fault(self, way: usize) -> Fault {
        let (a, b) = (Area::Interface(0, way), Area::Interface(1, way));
        let cut = |from, to, both| Fault::Cut {
            from,
            to,
            both,
            time: FOR_EVER,
        };
        match self {
            Self::BlackholeBoth => cut(a, b, true),
            Self::BlackholeOut => cut(a, b, false),
            Self::BlackholeIn => cut(b, a, false),
            Self::LinkDown => Fault::LinkDown {
                node: 0,
                interface: way,
                time: FOR_EVER,
            },
            Self::AddressReplaced => Fault::NewAddress {
                node: 0,
                interface: way,
            },
            Self::PeerRestart => Fault::Restart {
                node: 1,
                memory: Memory::Disk,
                time: RESTART,
                skew_ms: 0,
            },
        }
    }
}

/// Strikes so many pairs, each in a world of its own, and measures both directions.
///
/// # Errors
/// What must never happen.
pub fn measure(strike: Strike, mode: Mode, repetitions: u64) -> Result<Row, Violation> {
    let backend = match mode {
        Mode::Userspace => "userspace, simulated",
        Mode::Kernel => "kernel, simulated",
    };
    let mut row = Row::new(strike.name(), backend);
    for seed in 0..repetitions {
        repeat(strike, mode, seed, &mut row)?;
    }
    Ok(row)
}

fn repeat(strike: Strike, mode: Mode, seed: u64, row: &mut Row) -> Result<(), Violation> {
    let mut world = World::new(&pair(mode, seed), Bounds::default());
    // The first link is there for discovery; the other two share nothing.
    world.disturb(&Fault::Cut {
        from: Area::Interface(0, 0),
        to: Area::Interface(1, 0),
        both: true,
        time: FOR_EVER,
    });
    world.run(WARM_UP)?;
    for (from, to) in [(0, 1), (1, 0)] {
        world.send(from, to, TICK, LIMIT * 2);
    }
    let moment = Chance::new(seed, 79).up_to(PROBE_CYCLE);
    world.run(Duration::from_millis(500) + moment)?;
    let mut way = world.way(0, 1);
    while way.is_none() || way != world.way(1, 0) {
        world.run(PROBE_CYCLE / 10)?;
        way = world.way(0, 1);
    }
    let before = world.path_switches(0) + world.path_switches(1);
    world.forget_traffic();
    world.disturb(&strike.fault(way.unwrap_or(1)));
    world.run(LIMIT / 4)?;
    for (from, to, name) in [(0, 1, "a->b"), (1, 0, "b->a")] {
        let (count, longest) = world.arrivals(from, to);
        let down = if strike == Strike::PeerRestart {
            RESTART
        } else {
            Duration::ZERO
        };
        let gap = longest.saturating_sub(TICK + down);
        row.add(name, gap.as_secs_f64() * 1000.0);
        row.unrecovered += usize::from(count == 0);
    }
    row.switches += world.path_switches(0) + world.path_switches(1) - before;
    *row.events.entry("peer_down".to_owned()).or_default() += world.events("peer_down");
    world.forget_traffic();
    world.run(PROBE_CYCLE)?;
    let silent = [(0, 1), (1, 0)].map(|(from, to)| world.arrivals(from, to).0 == 0);
    row.unrecovered += silent.into_iter().filter(|silent| *silent).count();
    Ok(())
}

/// Two nodes with a link for discovery, and two that lead to each other.
fn pair(mode: Mode, seed: u64) -> Plan {
    let node = |zone| NodePlan {
        mode,
        routed: true,
        endpoints: Some(vec!["10.0.0.0/8".to_owned()]),
        ..NodePlan::at(zone, &[INTERNET, 1, 2])
    };
    Plan::new(seed, vec![node("fra"), node("nyc")])
}
