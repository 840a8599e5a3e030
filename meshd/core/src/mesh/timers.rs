//! Timers: what is due when. Holds no closures; the mesh knows what each timer means.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use mesh_proto::WgPublicKey;

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    Recompute,
    Publish,
    Leave,
    Persist,
    Stun,
    Report,
    Sessions,
    NativeChecks,
    Housekeeping,
    KeyChange,
    Peer(WgPublicKey),
}

impl Timer {
    const fn label(self) -> &'static str {
        match self {
            Self::Recompute => "recompute",
            Self::Publish => "publish",
            Self::Leave => "leave",
            Self::Persist => "persist",
            Self::Stun => "stun",
            Self::Report => "report",
            Self::Sessions => "sessions",
            Self::NativeChecks => "native_checks",
            Self::Housekeeping => "housekeeping",
            Self::KeyChange => "key change",
            Self::Peer(_) => "peer",
        }
    }
}

/// At most one instant per timer.
#[derive(Debug, Default)]
pub(super) struct Timers {
    queue: BTreeSet<(Instant, Timer)>,
    set: BTreeMap<Timer, (Instant, &'static str)>,
}

impl Timers {
    /// Sets the timer to that instant, or clears it.
    pub(super) fn set(&mut self, timer: Timer, at: Option<Instant>) {
        self.set_for(timer, at.map(|at| (at, timer.label())));
    }

    /// Sets the timer with a reason more precise than its own.
    pub(super) fn set_for(&mut self, timer: Timer, at: Option<(Instant, &'static str)>) {
        let Some((at, why)) = at else {
            if let Some((old, _)) = self.set.remove(&timer) {
                self.queue.remove(&(old, timer));
            }
            return;
        };
        // Peers set theirs for every packet, mostly to what it is.
        if let Some((old, _)) = self.set.insert(timer, (at, why)) {
            if old == at {
                return;
            }
            self.queue.remove(&(old, timer));
        }
        self.queue.insert((at, timer));
    }

    /// Sets the timer unless it is due earlier anyway.
    pub(super) fn set_earlier(&mut self, timer: Timer, at: Instant) {
        if self.set.get(&timer).is_none_or(|(old, _)| at < *old) {
            self.set(timer, Some(at));
        }
    }

    /// The next instant and what for.
    pub(super) fn next(&self) -> Option<(Instant, &'static str)> {
        let (_, timer) = self.queue.first()?;
        self.set.get(timer).copied()
    }

    /// Takes one timer that is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let (at, timer) = *self.queue.first()?;
        (at <= now).then(|| {
            self.set(timer, None);
            timer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn one_instant_per_timer_in_order() {
        let start = crate::mesh::tests::base_instant();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::default();
        timers.set(Timer::Stun, Some(at(30)));
        timers.set(Timer::Report, Some(at(20)));
        timers.set(Timer::Stun, Some(at(10)));
        timers.set_earlier(Timer::Stun, at(40));
        assert_eq!(timers.next(), Some((at(10), "stun")));
        assert_eq!(timers.pop_due(at(5)), None);
        assert_eq!(timers.pop_due(at(50)), Some(Timer::Stun));
        assert_eq!(timers.pop_due(at(50)), Some(Timer::Report));
        assert_eq!(timers.next(), None);
    }
}
