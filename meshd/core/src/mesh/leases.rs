//! Leases: what each discovery server says of one member's lease. Never looks at a remote clock: a
//! lease is over for as long as the server says, counted on by the own monotonic clock.

use std::collections::BTreeMap;
use std::time::Instant;

use super::membership::LeaseNews;
use crate::timing::FORGET_AFTER;

#[derive(Debug, Clone, Copy)]
enum Lease {
    Fresh,
    /// Over for this long at that instant.
    Over(std::time::Duration, Instant),
}

/// One member's leases by server.
#[derive(Debug, Default)]
pub(super) struct Leases(BTreeMap<usize, Lease>);

impl Leases {
    pub(super) fn set(&mut self, news: LeaseNews) {
        let lease = if news.fresh {
            Lease::Fresh
        } else {
            Lease::Over(news.stale, news.at)
        };
        self.0.insert(news.server, lease);
    }

    /// True if any server says so.
    pub(super) fn is_fresh(&self) -> bool {
        self.0.values().any(|lease| matches!(lease, Lease::Fresh))
    }

    /// True if no server ever spoke of this member since the start.
    pub(super) fn is_unknown(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn known_by(&self, server: usize) -> bool {
        self.0.contains_key(&server)
    }

    /// True if no server says fresh and one of them has said stale for longer than [`FORGET_AFTER`].
    pub(super) fn are_long_over(&self, now: Instant) -> bool {
        !self.is_fresh()
            && self.0.values().any(|lease| match lease {
                Lease::Fresh => false,
                Lease::Over(stale, at) => {
                    stale.saturating_add(now.saturating_duration_since(*at)) > FORGET_AFTER
                }
            })
    }
}
