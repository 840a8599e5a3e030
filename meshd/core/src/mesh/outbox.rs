//! Outbox: actions and events waiting for the shell.

use std::collections::VecDeque;

use mesh_proto::control::EventCost;

use crate::data_plane::EngineCommand;
use crate::event::Level;
use crate::{Action, Event};

/// Events kept for a shell that does not read them. Actions have no such bound: none may be lost, and
/// the shell empties them after every input.
const MAX_EVENTS: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Outbox {
    actions: VecDeque<Action>,
    events: VecDeque<Event>,
    dropped_events: u64,
}

impl Outbox {
    pub(super) fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub(super) fn engine(&mut self, command: EngineCommand) {
        self.actions.push_back(Action::Engine(command));
    }

    /// An event about no peer in particular.
    pub(super) fn event(&mut self, kind: &'static str, level: Level, message: impl Into<String>) {
        self.push(Event {
            kind,
            level,
            peer: None,
            message: message.into(),
            cost: None,
        });
    }

    /// An event about a peer.
    pub(super) fn peer_event(
        &mut self,
        kind: &'static str,
        level: Level,
        peer: &str,
        message: impl Into<String>,
    ) {
        self.push(Event {
            kind,
            level,
            peer: Some(peer.to_owned()),
            message: message.into(),
            cost: None,
        });
    }

    /// An event about a peer that came back, or moved, at a cost; users notice.
    pub(super) fn recovery_event(
        &mut self,
        kind: &'static str,
        peer: &str,
        message: impl Into<String>,
        cost: EventCost,
    ) {
        self.push(Event {
            kind,
            level: Level::Info,
            peer: Some(peer.to_owned()),
            message: message.into(),
            cost: Some(cost),
        });
    }

    pub(super) fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    pub(super) fn next_event(&mut self) -> Option<Event> {
        if self.dropped_events > 0 && self.events.len() < MAX_EVENTS {
            let message = format!("{} events were dropped", self.dropped_events);
            self.dropped_events = 0;
            self.event("events_dropped", Level::Warn, message);
        }
        self.events.pop_front()
    }

    fn push(&mut self, event: Event) {
        if self.events.len() >= MAX_EVENTS {
            self.dropped_events += 1;
        } else {
            self.events.push_back(event);
        }
    }
}
