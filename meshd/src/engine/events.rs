//! The way out of the worker thread. Most events may get lost when nobody reads; two kinds wait.

use std::collections::VecDeque;
use std::sync::Arc;

use meshd_core::data_plane::EngineEvent;
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use super::counters::{EngineCounters, count};

/// Events that wait for room; more are dropped.
const MAX_WAITING: usize = 4096;

/// Sends events without ever blocking.
#[derive(Debug)]
pub(super) struct EventSink {
    events: Sender<EngineEvent>,
    waiting: VecDeque<EngineEvent>,
    counters: Arc<EngineCounters>,
}

impl EventSink {
    /// A sink into `events`.
    pub(super) const fn new(events: Sender<EngineEvent>, counters: Arc<EngineCounters>) -> Self {
        Self {
            events,
            waiting: VecDeque::new(),
            counters,
        }
    }

    /// Sends an event that repeats itself in some way: lost if the channel is full.
    pub(super) fn offer(&self, event: EngineEvent) {
        if self.events.try_send(event).is_err() {
            count(&self.counters.drop_events);
        }
    }

    /// Sends an event that happens once: waits for room.
    pub(super) fn insist(&mut self, event: EngineEvent) {
        self.waiting.push_back(event);
        self.flush();
        if self.waiting.len() > MAX_WAITING {
            self.waiting.pop_front();
            count(&self.counters.drop_events);
        }
    }

    /// Sends what waits, in order, as far as there is room.
    pub(super) fn flush(&mut self) {
        while let Some(event) = self.waiting.pop_front() {
            match self.events.try_send(event) {
                Ok(()) | Err(TrySendError::Closed(_)) => {}
                Err(TrySendError::Full(event)) => {
                    self.waiting.push_front(event);
                    return;
                }
            }
        }
    }

    /// True if something waits for room.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    #[test]
    fn one_kind_gets_lost_and_the_other_waits() {
        let counters = Arc::new(EngineCounters::default());
        let (sender, mut receiver) = mpsc::channel(1);
        let mut sink = EventSink::new(sender, Arc::clone(&counters));
        sink.offer(EngineEvent::InterfaceRecreated);
        sink.offer(EngineEvent::InterfaceRecreated);
        assert_eq!(counters.snapshot().drop_events, 1);
        for _ in 0..2 {
            sink.insist(EngineEvent::Sessions(Vec::new()));
        }
        assert_eq!(
            receiver.try_recv().unwrap(),
            EngineEvent::InterfaceRecreated
        );
        for _ in 0..2 {
            assert!(sink.is_waiting());
            sink.flush();
            let event = receiver.try_recv().unwrap();
            assert_eq!(event, EngineEvent::Sessions(Vec::new()));
        }
        assert!(!sink.is_waiting());
        for _ in 0..MAX_WAITING + 10 {
            sink.insist(EngineEvent::Sessions(Vec::new()));
        }
        assert_eq!(sink.waiting.len(), MAX_WAITING);
    }
}
