//! A discovery server as the core sees one: leases, pushes, conflicts. No network in between.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mesh_proto::{ClusterId, EnvelopeKind, MemberId, VerifiedEnvelope};

use crate::input::DiscoveryEvent;

pub(super) const LEASE: Duration = Duration::from_secs(300);

#[derive(Debug, Clone)]
pub(super) struct Stored {
    envelope: VerifiedEnvelope,
    renewed: Instant,
    told_stale: bool,
}

#[derive(Debug, Default)]
pub(super) struct FakeServer {
    pub(super) up: bool,
    pub(super) stored: BTreeMap<(MemberId, ClusterId), Stored>,
}

/// What a PUT does.
#[derive(Debug)]
pub(super) enum Put {
    /// New: to be pushed to everybody.
    New,
    Renewed,
    Conflict(VerifiedEnvelope),
}

impl FakeServer {
    pub(super) fn put(&mut self, envelope: &VerifiedEnvelope, now: Instant) -> Put {
        let stored = Stored {
            envelope: envelope.clone(),
            renewed: now,
            told_stale: false,
        };
        let key = (envelope.member(), envelope.cluster());
        match self.stored.get_mut(&key) {
            Some(old) if old.envelope == *envelope => {
                let was_stale = old.told_stale;
                *old = stored;
                if was_stale { Put::New } else { Put::Renewed }
            }
            Some(old) if old.envelope.sequence() >= envelope.sequence() => {
                Put::Conflict(old.envelope.clone())
            }
            _ => {
                self.stored.insert(key, stored);
                Put::New
            }
        }
    }

    pub(super) fn snapshot(&self, now: Instant) -> Vec<DiscoveryEvent> {
        let line = |stored: &Stored| {
            let over = (now - stored.renewed).saturating_sub(LEASE);
            let left = stored.envelope.kind() == EnvelopeKind::Left;
            DiscoveryEvent::Member {
                envelope: stored.envelope.clone(),
                fresh: over.is_zero() && !left,
                stale_s: over.as_secs(),
            }
        };
        self.stored.values().map(line).collect()
    }

    /// Leases that ended since the last call.
    pub(super) fn ended(&mut self, now: Instant) -> Vec<DiscoveryEvent> {
        let mut out = Vec::new();
        for ((member, _), stored) in &mut self.stored {
            if !stored.told_stale && now - stored.renewed > LEASE {
                stored.told_stale = true;
                out.push(DiscoveryEvent::Stale {
                    member: *member,
                    sequence: stored.envelope.sequence(),
                });
            }
        }
        out
    }
}
