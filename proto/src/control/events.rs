//! What happened on a node, as the control API says it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// `GET /v1/events`: what happened since the daemon started, as far as it is kept. With `?follow` the
/// answer is one [`EventRecord`] a line instead, the kept ones first, without end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// [`super::CONTROL_VERSION`].
    pub version: u32,
    /// How many events before the first one here are no longer kept.
    pub missed: u64,
    /// Oldest first.
    pub events: Vec<EventRecord>,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRecord {
    /// 1 for the first since the daemon started, then counting up.
    pub number: u64,
    /// When, with milliseconds.
    pub time: String,
    /// Stable snake_case kind, e.g. `path_switched`.
    pub kind: String,
    /// How much it matters.
    pub level: EventLevel,
    /// Name of the peer it is about.
    pub peer: Option<String>,
    /// In words, with the reason.
    pub message: String,
    /// What it took, of another path or a new session; none for other events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<EventCost>,
}

/// What one recovery took, since its peer's trouble began. All zero where there was none, as with a better
/// path.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventCost {
    /// Pings sent to the peer, on all its paths.
    pub pings: u64,
    /// Handshake initiations sent to it; copies on several paths are one.
    pub initiations: u64,
    /// Milliseconds.
    pub duration_ms: u64,
}

impl fmt::Display for EventCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = |count| if count == 1 { "" } else { "s" };
        let Self {
            pings,
            initiations,
            duration_ms,
        } = self;
        write!(f, "{pings} ping{}, ", one(*pings))?;
        write!(f, "{initiations} initiation{}, ", one(*initiations))?;
        write!(f, "{duration_ms} ms")
    }
}

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventLevel {
    /// A deviation or a minor change.
    Debug,
    /// A change users notice.
    Info,
    /// Somebody should look.
    Warn,
}
