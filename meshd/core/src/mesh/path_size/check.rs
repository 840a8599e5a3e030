//! Check: whether the largest packet that arrived once still does, for routes change without a word. A
//! large ping now and then to a busy peer, and at once when data stalls; where several in a row are lost
//! while small ones are answered, a search finds out what does arrive.

use std::time::{Duration, Instant};

use super::{PathSize, ROUNDS};
use crate::data_plane::PathId;
use crate::mesh::budget::Budget;
use crate::mesh::peer::{Peer, Scene};
use crate::timing::SIZE_CHECK_LOST;

/// Large pings of one check; without a verdict by then small ones are lost too, which is not its matter.
const ASKED: u8 = 8;

#[derive(Debug)]
pub(super) struct Check {
    path: PathId,
    pub(super) size: u16,
    pub(super) next: Instant,
    asked: u8,
    lost: u8,
    /// When the last ping left.
    sent: Option<Instant>,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Ask with a large ping and a small one.
    Ask,
    /// The large ones are lost.
    Hole,
    /// Nothing can be said.
    Unknown,
}

impl Check {
    fn new(path: PathId, size: u16, now: Instant) -> Self {
        Self {
            path,
            size,
            next: now,
            asked: 0,
            lost: 0,
            sent: None,
        }
    }

    /// What follows from no answer so far, a small ping having been answered last at `small`.
    fn step(&mut self, small: Option<Instant>) -> Outcome {
        if self.sent.take().is_some_and(|sent| small >= Some(sent)) {
            self.lost += 1;
        }
        if self.lost >= SIZE_CHECK_LOST {
            Outcome::Hole
        } else if self.asked >= ASKED {
            Outcome::Unknown
        } else {
            Outcome::Ask
        }
    }

    fn asked(&mut self, now: Instant, pace: Duration) {
        self.asked += 1;
        (self.sent, self.next) = (Some(now), now + pace);
    }
}

impl PathSize {
    /// Begins a check unless there was one, or a search, within `gap`.
    fn begin_check(&mut self, path: PathId, now: Instant, gap: Duration) {
        let lately = |at: Instant| now.saturating_duration_since(at) < gap;
        if self.search.is_some() || self.check.is_some() || self.checked.is_some_and(lately) {
            return;
        }
        let Some(size) = self.proven else { return };
        self.checked = Some(now);
        self.searches = self.searches.wrapping_add(1);
        self.check = Some(Box::new(Check::new(path, size, now)));
    }
}

impl Peer {
    /// Checks that large packets still arrive, unless that was done within `gap`.
    pub(in crate::mesh) fn check_size(&mut self, gap: Duration, scene: &mut Scene<'_>) {
        if let Some(path) = self.paths.in_use() {
            self.size.begin_check(path, scene.now.instant, gap);
            self.probe_sizes(scene);
        }
    }

    /// Goes on with a check on `path`, the one in use.
    pub(super) fn step_check(&mut self, path: PathId, pace: Duration, scene: &mut Scene<'_>) {
        let now = scene.now.instant;
        let small = self.paths.current().and_then(|path| path.facts.last_answer);
        let Some(check) = self.size.check.as_mut().filter(|check| check.next <= now) else {
            return;
        };
        let outcome = if check.path == path {
            check.step(small)
        } else {
            Outcome::Unknown
        };
        match outcome {
            Outcome::Ask if scene.budget.take_all(now, 1) => {
                check.asked(now, pace);
                let size = check.size;
                self.ping_of_size(size, path, scene);
                self.ping(path, false, scene);
            }
            Outcome::Ask => {
                check.next = now + Budget::PAUSE;
                scene.counters.pings_withheld += 1;
            }
            Outcome::Unknown => self.size.check = None,
            Outcome::Hole => {
                // Full size has been asked for already.
                let full = scene.own.tunnel_mtu.min(super::LARGEST);
                self.size.check = None;
                self.size.begin_search(path, full, ROUNDS.0);
                self.size.next = Some(now);
                self.probe_sizes(scene);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Duration = Duration::from_millis(250);

    /// Steps a check until it ends; `small` says whether the small ping of a step was answered.
    fn run(mut small: impl FnMut(u8) -> bool) -> (u8, Outcome) {
        let mut now = crate::mesh::tests::base_instant();
        let path = PathId::to(([192, 0, 2, 1], 51840).into());
        let mut check = Check::new(path, 1420, now);
        let mut answered = None;
        loop {
            match check.step(answered) {
                Outcome::Ask => check.asked(now, PACE),
                end => return (check.asked, end),
            }
            if small(check.asked) {
                answered = Some(now + PACE / 2);
            }
            now = check.next;
        }
    }

    #[test]
    fn a_hole_is_large_pings_lost_while_small_ones_are_answered() {
        assert_eq!(run(|_| true), (SIZE_CHECK_LOST, Outcome::Hole));
        assert_eq!(run(|step| step != 2), (SIZE_CHECK_LOST + 1, Outcome::Hole));
        assert_eq!(run(|_| false), (ASKED, Outcome::Unknown));
    }

    #[test]
    fn checks_are_made_of_what_is_proven_and_not_too_often() {
        let now = crate::mesh::tests::base_instant();
        let path = PathId::to(([192, 0, 2, 1], 51840).into());
        let gap = Duration::from_secs(10);
        let mut size = PathSize::default();
        size.begin_check(path, now, gap);
        assert!(size.check.is_none(), "nothing is proven");
        size.proven = Some(1280);
        size.begin_check(path, now, gap);
        assert_eq!(size.check.as_ref().map(|check| check.size), Some(1280));
        let id = super::super::ping_id(size.searches, 1280);
        assert!(!size.answered(id), "no search is over");
        assert!(size.check.is_none());
        size.begin_check(path, now + gap / 2, gap);
        assert!(size.check.is_none());
        size.begin_check(path, now + gap, gap);
        assert!(size.check.is_some());
    }
}
