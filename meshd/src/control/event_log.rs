//! Event log: the last events, kept for who asks and passed on to who follows. A slow follower loses
//! events and is told how many; it never holds anybody up.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mesh_proto::control::{CONTROL_VERSION, EventLevel, EventRecord, Events};
use meshd_core::event::Level;
use meshd_core::{Event, Now};
use tokio::sync::broadcast;

/// Events kept, and events a follower may be behind.
pub(super) const MAX_KEPT: usize = 1000;

/// The log; clones share it.
#[derive(Debug, Clone)]
pub struct EventLog(Arc<Mutex<Ring>>);

#[derive(Debug)]
struct Ring {
    kept: VecDeque<Arc<EventRecord>>,
    last: u64,
    followers: broadcast::Sender<Arc<EventRecord>>,
}

impl EventLog {
    /// An empty log.
    #[must_use]
    pub fn new() -> Self {
        let (followers, _) = broadcast::channel(MAX_KEPT);
        Self(Arc::new(Mutex::new(Ring {
            kept: VecDeque::new(),
            last: 0,
            followers,
        })))
    }

    /// Adds an event.
    pub fn note(&self, event: &Event, now: Now) {
        let mut ring = self.ring();
        ring.last += 1;
        let record = Arc::new(EventRecord {
            number: ring.last,
            time: now.rfc3339(),
            kind: event.kind.to_owned(),
            level: level(event.level),
            peer: event.peer.clone(),
            message: event.message.clone(),
            cost: event.cost,
        });
        if ring.kept.len() >= MAX_KEPT {
            ring.kept.pop_front();
        }
        ring.kept.push_back(Arc::clone(&record));
        // Nobody may be listening.
        let _ = ring.followers.send(record);
    }

    /// Everything kept.
    #[must_use]
    pub fn document(&self) -> Events {
        let ring = self.ring();
        Events {
            version: CONTROL_VERSION,
            missed: ring.last - ring.kept.len() as u64,
            events: ring.kept.iter().map(|record| (**record).clone()).collect(),
        }
    }

    /// Everything kept, and what comes after it: nothing is lost or doubled in between.
    pub(super) fn follow(&self) -> (Vec<Arc<EventRecord>>, broadcast::Receiver<Arc<EventRecord>>) {
        let ring = self.ring();
        (
            ring.kept.iter().cloned().collect(),
            ring.followers.subscribe(),
        )
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        // A panic between two of its lines leaves a ring that is still good.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for EventLog {
    fn default() -> Self {
        Self::new()
    }
}

const fn level(level: Level) -> EventLevel {
    match level {
        Level::Debug => EventLevel::Debug,
        Level::Info => EventLevel::Info,
        Level::Warn => EventLevel::Warn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: usize) -> Event {
        Event {
            kind: "peer_up",
            level: Level::Info,
            peer: Some("fra-1".to_owned()),
            message: number.to_string(),
            cost: None,
        }
    }

    fn now() -> Now {
        Now {
            instant: std::time::Instant::now(),
            unix_ms: 951_827_696_789,
        }
    }

    #[test]
    fn keeps_the_last_ones() {
        let log = EventLog::new();
        for number in 1..=MAX_KEPT + 3 {
            log.note(&event(number), now());
        }
        let document = log.document();
        assert_eq!((document.missed, document.events.len()), (3, MAX_KEPT));
        let first = &document.events[0];
        assert_eq!((first.number, first.message.as_str()), (4, "4"));
        assert_eq!(first.time, "2000-02-29T12:34:56.789Z");
    }

    #[test]
    fn a_slow_follower_is_told_what_it_lost() {
        let log = EventLog::new();
        log.note(&event(1), now());
        let (kept, mut rest) = log.follow();
        assert_eq!(kept.len(), 1);
        // The channel may round its capacity up.
        for number in 2..=4 * MAX_KEPT {
            log.note(&event(number), now());
        }
        let lagged = rest.try_recv().unwrap_err();
        let broadcast::error::TryRecvError::Lagged(lost) = lagged else {
            panic!("{lagged}");
        };
        assert_eq!(rest.try_recv().unwrap().number, lost + 2);
    }
}
