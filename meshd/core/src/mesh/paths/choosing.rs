//! Choosing: which path is better than which, and where to go when the one in use is lost. Pure.

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use super::{Path, Paths, Place};
use crate::data_plane::PathId;
use crate::timing::{UPGRADE_RTT, UPGRADE_STREAK};

/// What there is to gain from moving to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mesh) enum Gain {
    /// Its endpoint stands earlier in the order of preference.
    Preferred,
    /// Its round trips are shorter.
    Faster,
    /// The far end sends there, and nothing here speaks for the one or the other.
    Agreed,
}

/// By how much round trips must be shorter than `ours` to be worth a switch.
pub(super) fn margin(ours: Duration) -> Duration {
    UPGRADE_RTT.max(ours / 5)
}

impl Paths {
    /// What is gained by moving from the path in use to `candidate`, both being good; none if it is
    /// not worth a switch. `theirs` is where the far end sends.
    pub(in crate::mesh) fn gain(
        &self,
        candidate: &Path,
        theirs: Option<PathId>,
        now: Instant,
    ) -> Option<Gain> {
        let current = self.current()?;
        let asked_for = theirs == Some(candidate.id);
        if current.id == candidate.id
            || (candidate.kind.is_none() && !asked_for)
            || !candidate.facts.is_good()
            || candidate.facts.penalty.held_until(now).is_some()
        {
            return None;
        }
        if candidate.place.class != current.place.class {
            let better = candidate.place.class < current.place.class;
            return better.then_some(Gain::Preferred);
        }
        let new = candidate.facts.rtt.smoothed()?;
        let old = current.facts.rtt.smoothed()?;
        let margin = margin(old);
        if new + margin < old && candidate.kind.is_some() {
            return Some(Gain::Faster);
        }
        if new > old + margin / 2 {
            return None;
        }
        match candidate.place.order.cmp(&current.place.order) {
            Ordering::Less => Some(Gain::Preferred),
            Ordering::Equal => asked_for.then_some(Gain::Agreed),
            Ordering::Greater => None,
        }
    }

    /// True if `candidate` has been good for long enough to move there for a gain.
    pub(in crate::mesh) fn is_settled(&self, candidate: &Path) -> bool {
        candidate.facts.streak >= UPGRADE_STREAK
    }

    /// The best way besides the path in use that is known to work, the one that shares least with it
    /// first: what broke that one may break its relatives. Before all, `theirs`, where the far end sends:
    /// it may have good reasons.
    pub(in crate::mesh) fn alternate(
        &self,
        theirs: Option<PathId>,
        now: Instant,
    ) -> Option<PathId> {
        self.known
            .iter()
            .filter(|path| Some(path.id) != self.in_use && path.facts.is_good())
            .min_by_key(|path| {
                let held = path.facts.penalty.held_until(now).is_some();
                let other = theirs != Some(path.id);
                (other, held, self.shared(path), path.place)
            })
            .map(|path| path.id)
    }

    /// The best path that answered at or after `since`; of those that make no difference here, `theirs`, where
    /// the far end sends.
    pub(in crate::mesh) fn best_answered(
        &self,
        since: Instant,
        theirs: Option<PathId>,
        now: Instant,
    ) -> Option<PathId> {
        self.known
            .iter()
            .filter(|path| path.facts.last_answer.is_some_and(|at| at >= since))
            .min_by_key(|path| {
                let held = path.facts.penalty.held_until(now).is_some();
                let Place { class, order, .. } = path.place;
                let other = theirs != Some(path.id);
                (held, class, self.slowness(path), order, other, path.place)
            })
            .map(|path| path.id)
    }

    /// Any path that may work, the likeliest first, when the one in use cannot.
    pub(in crate::mesh) fn refuge(&self, now: Instant) -> Option<PathId> {
        self.alternate(None, now).or_else(|| {
            self.known
                .iter()
                .filter(|path| Some(path.id) != self.in_use && path.facts.refused.is_none())
                .min_by_key(|path| {
                    (
                        path.facts.last_answer.is_none(),
                        path.facts.misses,
                        path.place,
                    )
                })
                .map(|path| path.id)
        })
    }

    /// How many ends `path` shares with the one in use.
    fn shared(&self, path: &Path) -> u8 {
        self.in_use.map_or(0, |used| {
            u8::from(used.local == path.id.local) + u8::from(used.remote == path.id.remote)
        })
    }

    /// Round trips in steps of what makes a difference.
    fn slowness(&self, path: &Path) -> u128 {
        let rtt = path.facts.rtt.smoothed().unwrap_or(Duration::MAX);
        rtt.as_millis() / UPGRADE_RTT.as_millis().max(1)
    }
}
