//! Timers: what is due when. Holds no closures; the mesh knows what each timer means.

use std::collections::BTreeMap;
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

/// When a peer's timer is set to, and why; kept with the peer, which is at hand whenever that changes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Armed(Option<(Instant, &'static str)>);

/// At most one instant per timer. Peers set theirs for every packet: what a timer is set to is found without a
/// search, and why with the instant.
#[derive(Debug, Default)]
pub(super) struct Timers {
    queue: BTreeMap<(Instant, Timer), &'static str>,
    /// Of the mesh itself.
    set: BTreeMap<Timer, Instant>,
}

impl Timers {
    /// Sets a timer that is no peer's to that instant, or clears it.
    pub(super) fn set(&mut self, timer: Timer, at: Option<Instant>) {
        let old = match at {
            Some(at) => self.set.insert(timer, at),
            None => self.set.remove(&timer),
        };
        if old == at {
            return;
        }
        if let Some(old) = old {
            self.queue.remove(&(old, timer));
        }
        if let Some(at) = at {
            self.queue.insert((at, timer), timer.label());
        }
    }

    /// Sets a peer's timer, or clears it.
    pub(super) fn set_peer(
        &mut self,
        key: WgPublicKey,
        armed: &mut Armed,
        at: Option<(Instant, &'static str)>,
    ) {
        let old = std::mem::replace(&mut armed.0, at);
        if old == at {
            return;
        }
        let timer = Timer::Peer(key);
        if let Some((old, _)) = old
            && at.is_none_or(|(at, _)| at != old)
        {
            self.queue.remove(&(old, timer));
        }
        if let Some((at, why)) = at {
            self.queue.insert((at, timer), why);
        }
    }

    /// Sets the timer unless it is due earlier anyway.
    pub(super) fn set_earlier(&mut self, timer: Timer, at: Instant) {
        if self.set.get(&timer).is_none_or(|old| at < *old) {
            self.set(timer, Some(at));
        }
    }

    /// The next instant and what for.
    pub(super) fn next(&self) -> Option<(Instant, &'static str)> {
        let ((at, _), why) = self.queue.first_key_value()?;
        Some((*at, why))
    }

    /// Takes one timer that is due. A peer's is to be cleared by whoever does what is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let first = self.queue.first_entry()?;
        if first.key().0 > now {
            return None;
        }
        let ((_, timer), _) = first.remove_entry();
        self.set.remove(&timer);
        Some(timer)
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

    #[test]
    fn a_peer_has_one_instant_with_its_reason() {
        let start = crate::mesh::tests::base_instant();
        let at = |ms| start + Duration::from_millis(ms);
        let keys = [WgPublicKey([1; 32]), WgPublicKey([2; 32])];
        let mut timers = Timers::default();
        let mut armed = [Armed::default(); 2];
        for (key, armed) in keys.into_iter().zip(&mut armed) {
            timers.set_peer(key, armed, Some((at(50), "probe")));
        }
        timers.set_peer(keys[1], &mut armed[1], Some((at(20), "probe")));
        timers.set_peer(keys[1], &mut armed[1], Some((at(20), "race")));
        assert_eq!(timers.next(), Some((at(20), "race")));
        assert_eq!(timers.pop_due(at(20)), Some(Timer::Peer(keys[1])));
        timers.set_peer(keys[1], &mut armed[1], None);
        timers.set_peer(keys[1], &mut armed[1], Some((at(60), "probe")));
        timers.set_peer(keys[0], &mut armed[0], None);
        assert_eq!(timers.pop_due(at(60)), Some(Timer::Peer(keys[1])));
        assert_eq!(timers.next(), None);
    }
}
