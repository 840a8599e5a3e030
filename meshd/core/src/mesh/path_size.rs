//! Path size: finds paths that carry small packets and lose large ones without a word. Padded pings go out
//! on the path in use; the answers are small. A size is believed only because a ping of that size was
//! answered while larger ones were not, so that neither loss nor a dead path nor a peer that does not know
//! padded pings lowers anything. What is done about it is the engine's matter. Whether a size that was
//! found still arrives is seen in `check`.

mod check;

use std::time::{Duration, Instant};

use mesh_proto::probe::{ProbeFlags, ProbeKind};

use self::check::Check;
use super::budget::Budget;
use super::peer::{Peer, Scene};
use crate::data_plane::{EngineCommand, PathId};
use crate::event::Level;
use crate::timing::{SIZE_AGAIN, SIZE_AGAIN_LOWERED, SIZE_PACE, SIZE_PAUSE, SIZE_SPREAD};

/// Inner sizes that are tried below the full one. With 1200 the outer packet has 1280 bytes, which every
/// IPv6 link carries.
const SIZES: [u16; 6] = [1420, 1400, 1360, 1320, 1280, 1200];
/// The largest size that is asked for; tunnels over loopback would have 64 KiB.
const LARGEST: u16 = 8920;
/// Rounds in which only the full size is asked for, and rounds in all.
const ROUNDS: (u8, u8) = (3, 6);
/// Ids of padded pings begin here: search and size follow.
const FIRST_ID: u64 = 1 << 62;
const SIZE_BITS: u32 = 16;

/// What is known of the largest packet to one peer.
#[derive(Debug, Default)]
pub(super) struct PathSize {
    limit: Option<u16>,
    next: Option<Instant>,
    search: Option<Box<Search>>,
    /// The largest size that arrived on the path in use.
    proven: Option<u16>,
    check: Option<Box<Check>>,
    checked: Option<Instant>,
    /// Searches and checks so far.
    searches: u32,
}

#[derive(Debug)]
struct Search {
    path: PathId,
    full: u16,
    round: u8,
    /// The largest size that was answered.
    answered: Option<u16>,
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Ask for these sizes.
    Ask(Vec<u16>),
    /// There is no room for so many pings now.
    Wait(usize),
    /// The search is over.
    Done,
}

impl PathSize {
    /// Largest inner packet that arrives, in bytes, if that is less than the tunnel's MTU.
    pub(super) const fn limit(&self) -> Option<u16> {
        self.limit
    }

    /// When something is to be done.
    pub(super) fn next(&self) -> Option<Instant> {
        let check = self.check.as_ref().map(|check| check.next);
        self.next.into_iter().chain(check).min()
    }

    /// Starts again: the path is another one, or has failed.
    fn restart(&mut self, at: Instant) {
        (self.search, self.check, self.proven) = (None, None, None);
        self.next = Some(at);
    }

    /// The next round; `afford` says whether so many pings may leave.
    fn step(
        &mut self,
        (path, full): (PathId, u16),
        now: Instant,
        pace: Duration,
        afford: impl FnOnce(usize) -> bool,
    ) -> Step {
        self.check = None;
        let same = |search: &Search| search.path == path && search.full == full;
        if !self.search.as_deref().is_some_and(same) {
            self.begin_search(path, full, 0);
        }
        let Some(search) = &mut self.search else {
            return Step::Done;
        };
        let mut sizes = vec![full];
        if search.round >= ROUNDS.0 {
            let open = |size: &u16| *size < full && Some(*size) > search.answered;
            sizes.extend(SIZES.into_iter().filter(open));
        }
        if search.round >= ROUNDS.1 {
            return Step::Done;
        }
        if !afford(sizes.len()) {
            // Not a round: a ping that never left is not lost.
            self.next = Some(now + Budget::PAUSE);
            return Step::Wait(sizes.len());
        }
        search.round += 1;
        self.next = Some(now + pace);
        Step::Ask(sizes)
    }

    fn begin_search(&mut self, path: PathId, full: u16, round: u8) {
        self.searches = self.searches.wrapping_add(1);
        self.search = Some(Box::new(Search {
            path,
            full,
            round,
            answered: None,
        }));
    }

    /// Notes that a ping was answered. True if the search is over.
    fn answered(&mut self, id: u64) -> bool {
        let number = self.searches;
        if let Some(check) = &self.check
            && id == ping_id(number, check.size)
        {
            self.check = None;
            return false;
        }
        let Some(search) = &mut self.search else {
            return false;
        };
        let size = (id & 0xffff) as u16;
        if id != ping_id(number, size) || size > search.full {
            return false;
        }
        search.answered = search.answered.max(Some(size));
        size == search.full
    }

    /// Ends the search. The new limit if it is another one; nothing answered says nothing.
    fn conclude(&mut self, now: Instant, spread: Duration) -> Option<Option<u16>> {
        let search = self.search.take();
        let old = self.limit;
        if let Some((search, size)) =
            search.and_then(|search| Some((search.full, search.answered?)))
        {
            self.limit = (size < search).then_some(size);
            self.proven = Some(size);
        }
        self.checked = Some(now);
        let again = if self.limit.is_some() {
            SIZE_AGAIN_LOWERED
        } else {
            SIZE_AGAIN
        };
        self.next = Some(now + again + spread);
        (self.limit != old).then_some(self.limit)
    }
}

const fn ping_id(search: u32, size: u16) -> u64 {
    // The search's number must not reach the bit that other ids begin with.
    FIRST_ID | ((search & 0x0fff_ffff) as u64) << SIZE_BITS | size as u64
}

impl Peer {
    /// Another path is in use: its size is not known.
    pub(super) fn size_unknown(&mut self, scene: &Scene<'_>) {
        let delay = self.spread(SIZE_SPREAD) * (scene.own.scale - 1);
        self.size.restart(scene.now.instant + delay);
    }

    /// Up to `most`, the same for this peer at any time: peers that came together part.
    fn spread(&self, most: Duration) -> Duration {
        most / 255 * u32::from(self.key.0[0])
    }

    /// Asks for what is due, on a path that answers small packets only.
    pub(super) fn probe_sizes(&mut self, scene: &mut Scene<'_>) {
        let now = scene.now.instant;
        if self.size.next().is_none_or(|at| at > now) {
            return;
        }
        let Some(path) = self.paths.in_use().filter(|path| self.allows(path.remote)) else {
            return self.size.restart(now + SIZE_PAUSE);
        };
        if self.is_racing() || !self.is_alive() {
            return self.size.restart(now + SIZE_PAUSE);
        }
        let usual = self.paths.current().map(|path| path.facts.rtt.timeout());
        let pace = usual.unwrap_or_default().clamp(SIZE_PACE, SIZE_PAUSE);
        if self.size.next.is_none_or(|at| at > now) {
            return self.step_check(path, pace, scene);
        }
        let full = scene.own.tunnel_mtu.min(LARGEST);
        let afford = |count| scene.budget.take_all(now, count);
        match self.size.step((path, full), now, pace, afford) {
            Step::Ask(sizes) => {
                for size in sizes {
                    self.ping_of_size(size, path, scene);
                }
            }
            Step::Wait(count) => scene.counters.pings_withheld += count as u64,
            Step::Done => self.conclude_size(scene),
        }
    }

    fn ping_of_size(&self, size: u16, path: PathId, scene: &mut Scene<'_>) {
        scene.counters.pings_sent += 1;
        let id = ping_id(self.size.searches, size);
        let ping = (ProbeKind::Ping, id, ProbeFlags::default());
        self.send_probe_of(size.into(), ping, path, scene);
    }

    /// Takes an answer; false if it is to another kind of ping.
    pub(super) fn size_answered(&mut self, id: u64, scene: &mut Scene<'_>) -> bool {
        if id < FIRST_ID {
            return false;
        }
        if self.size.answered(id) {
            self.conclude_size(scene);
        }
        true
    }

    fn conclude_size(&mut self, scene: &mut Scene<'_>) {
        let spread = self.spread(SIZE_AGAIN_LOWERED / 10);
        let Some(limit) = self.size.conclude(scene.now.instant, spread) else {
            return;
        };
        let (level, message) = match limit {
            Some(size) => (
                Level::Warn,
                format!(
                    "packets of more than {size} bytes do not arrive; larger ones are refused here"
                ),
            ),
            None => (Level::Info, "packets of full size arrive again".to_owned()),
        };
        scene
            .out
            .peer_event("path_mtu", level, &self.label, message);
        scene.out.engine(EngineCommand::SetPathMtu {
            peer: self.key,
            mtu: limit,
        });
    }
}

#[cfg(test)]
mod tests;
