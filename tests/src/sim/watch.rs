//! Watch: since when each pair can talk, and whether it does so within its bound. Asks with a few packets of
//! users when the time is up, not before: what mends itself only because somebody sends is not mended.

use std::collections::BTreeMap;
use std::time::Duration;

use super::NodeId;
use super::checks::{Bounds, Violation};
use super::oracle::{Reach, TRIES, TRY_GAP, TRY_WAIT};
use super::time::SimTime;
use super::world::World;

/// How long a world is watched after the last disturbance: outlasts whatever clients of servers wait for, so
/// that all who can ever talk have been asked.
const WATCHED: Duration = Duration::from_secs(60);
/// Between two looks at who can talk.
const LOOK: Duration = Duration::from_secs(1);

type Pair = (NodeId, NodeId);

/// One pair that can talk.
#[derive(Debug, Clone, Copy)]
struct Watched {
    reach: Reach,
    since: SimTime,
    asked: u32,
    /// What had arrived, each way, before it was asked.
    before: [u64; 2],
    done: bool,
}

/// All of them.
#[derive(Debug, Default)]
struct Watch(BTreeMap<Pair, Watched>);

impl Bounds {
    const fn within(&self, reach: Reach) -> Duration {
        match reach {
            Reach::Direct => self.talk_within,
            Reach::Punched => self.punch_within,
        }
    }
}

impl World {
    /// Lets a time pass without further disturbance in which every pair that can talk, or comes to, must do so
    /// within its bound; then asks all once more.
    ///
    /// # Errors
    /// The first violation.
    pub fn settle(&mut self) -> Result<(), Violation> {
        let end = self.now() + WATCHED;
        let mut watch = Watch::default();
        let mut look = self.now();
        while self.now() < end {
            if look <= self.now() {
                look += LOOK;
                watch.look(self);
            }
            watch.ask(self);
            self.run(TRY_GAP)?;
        }
        self.check_all_talk()
    }
}

impl Watch {
    /// Notes who can talk from now on, and who cannot any more.
    fn look(&mut self, world: &World) {
        let now = world.now();
        for (a, b) in world.pairs() {
            let Some(reach) = world.reach(a, b) else {
                self.0.remove(&(a, b));
                continue;
            };
            let new = Watched {
                reach,
                since: now,
                asked: 0,
                before: [0; 2],
                done: false,
            };
            let known = self.0.entry((a, b)).or_insert(new);
            if known.reach != reach {
                *known = new;
            }
        }
    }

    /// Asks the pairs whose time is up.
    fn ask(&mut self, world: &mut World) {
        let (now, bounds) = (world.now(), *world.checks.bounds());
        for ((a, b), pair) in &mut self.0 {
            let at = pair.since + bounds.within(pair.reach);
            if pair.done || now < at {
                continue;
            }
            let arrived = |world: &World| [(*a, *b), (*b, *a)].map(|(x, y)| world.arrivals(x, y).0);
            if pair.asked == 0 {
                pair.before = arrived(world);
            }
            if pair.asked < TRIES {
                pair.asked += 1;
                world.send_one(*a, *b, 0);
                world.send_one(*b, *a, 0);
            } else if now >= at + TRY_GAP * TRIES + TRY_WAIT {
                pair.done = true;
                let after = arrived(world);
                let able = world.reach(*a, *b).is_some();
                for (way, (from, to)) in [(*a, *b), (*b, *a)].into_iter().enumerate() {
                    if able && after[way] == pair.before[way] {
                        let (since, within) = (pair.since, bounds.within(pair.reach));
                        let told = world.describe(from, to);
                        let what = format!(
                            "n{from} does not reach n{to} {within:?} after it could, at {since:?}; {told}"
                        );
                        world.checks.violate(now, "late", what);
                    }
                }
            }
        }
    }
}
