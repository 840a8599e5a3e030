//! Display of the states and kinds of the control API: the same words as in the JSON documents.

use std::fmt;

use super::{EventLevel, ExplainVerdict, LinkKind, LinkState, NodeState, PathState, PeerState};
use crate::record::BackendKind;

macro_rules! words {
    ($type:ident: $($variant:ident = $word:literal),+ $(,)?) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self {
                    $(Self::$variant => $word,)+
                })
            }
        }

        impl $type {
            /// Every value there is.
            pub const ALL: &[Self] = &[$(Self::$variant),+];
        }
    };
}

words!(PathState: Unknown = "unknown", Good = "good", Suspect = "suspect", Dead = "dead", HeldDown = "held_down", Refused = "refused");
words!(PeerState: Up = "up", Suspect = "suspect", Connecting = "connecting", Down = "down");
words!(NodeState: Alive = "alive", Fresh = "fresh", Stale = "stale", Unknown = "unknown", Removed = "removed");
words!(LinkKind: Tunnel = "tunnel", Native = "native");
words!(
    LinkState: Up = "up", Unknown = "unknown", Suspect = "suspect", Connecting = "connecting",
    Down = "down",
);
words!(
    ExplainVerdict: Tunnel = "tunnel", Native = "native", Unreachable = "unreachable",
    Local = "local",
);
words!(EventLevel: Debug = "debug", Info = "info", Warn = "warn");
words!(BackendKind: Kernel = "kernel", Userspace = "userspace");

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;

    fn same<T: Serialize + fmt::Display>(all: &[T]) {
        for value in all {
            let json = serde_json::to_value(value).unwrap();
            assert_eq!(json, value.to_string());
        }
    }

    #[test]
    fn words_are_those_of_the_documents() {
        same(PathState::ALL);
        same(PeerState::ALL);
        same(NodeState::ALL);
        same(LinkKind::ALL);
        same(LinkState::ALL);
        same(ExplainVerdict::ALL);
        same(EventLevel::ALL);
        same(BackendKind::ALL);
    }
}
