//! Fixed events for tests: one of each level, one with a cost.

use mesh_proto::control::{EventCost, EventLevel, EventRecord, Events};

use super::VERSION;

const COST: EventCost = EventCost {
    pings: 7,
    initiations: 1,
    duration_ms: 182,
};

pub(crate) fn events() -> Events {
    let event = |number, kind: &str, level, peer: Option<&str>, message: &str| EventRecord {
        number,
        time: format!("2026-11-21T02:0{number}:00.250Z"),
        kind: kind.to_owned(),
        level,
        peer: peer.map(str::to_owned),
        message: message.to_owned(),
        cost: (kind == "path_switched").then_some(COST),
    };
    let switched = "path 203.0.113.3:51840 -> 198.51.100.9:4000: no answer for 150 ms";
    Events {
        version: VERSION,
        missed: 2,
        events: vec![
            event(
                3,
                "published",
                EventLevel::Debug,
                None,
                "record 1795227000000",
            ),
            event(
                4,
                "path_switched",
                EventLevel::Info,
                Some("ber-1"),
                switched,
            ),
            event(
                5,
                "peer_down",
                EventLevel::Warn,
                Some("nyc\u{1b}1"),
                "silent",
            ),
        ],
    }
}
