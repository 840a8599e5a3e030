//! Events: what happened, for logs, metrics and people. They trigger nothing.

use std::fmt;

use mesh_proto::control::EventCost;

/// One event. The text is for people; the kind is stable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Stable snake_case kind, e.g. `peer_up`, `path_switched`, `zone_changed`, `prefix_refused`.
    pub kind: &'static str,
    /// How much it matters.
    pub level: Level,
    /// Name of the peer it is about.
    pub peer: Option<String>,
    /// In words, with the reason.
    pub message: String,
    /// What it took, of another path or a new session.
    pub cost: Option<EventCost>,
}

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A deviation or a minor change.
    Debug,
    /// A change users notice.
    Info,
    /// Somebody should look.
    Warn,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.peer {
            Some(peer) => write!(f, "{}: {}", peer, self.message)?,
            None => f.write_str(&self.message)?,
        }
        match self.cost {
            Some(cost) => write!(f, " ({cost})"),
            None => Ok(()),
        }
    }
}
