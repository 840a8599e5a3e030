//! Effort: what was spent on one peer since its trouble began, for events. Counts; decides nothing.

use std::time::{Duration, Instant};

use mesh_proto::control::EventCost;

#[derive(Debug, Default)]
pub(super) struct Effort {
    pings: u64,
    initiations: u64,
    trouble: Option<Trouble>,
}

/// When it began, and the counts then.
#[derive(Debug, Clone, Copy)]
struct Trouble {
    since: Instant,
    pings: u64,
    initiations: u64,
}

impl Effort {
    pub(super) const fn pinged(&mut self) {
        self.pings += 1;
    }

    pub(super) const fn initiated(&mut self) {
        self.initiations += 1;
    }

    /// Something is missing since then; what began earlier goes on.
    pub(super) fn begin(&mut self, since: Instant) {
        self.trouble.get_or_insert(Trouble {
            since,
            pings: self.pings,
            initiations: self.initiations,
        });
    }

    /// All is well.
    pub(super) const fn end(&mut self) {
        self.trouble = None;
    }

    /// What was spent on the present trouble.
    pub(super) fn cost(&self, now: Instant) -> EventCost {
        let Some(trouble) = self.trouble else {
            return EventCost::default();
        };
        let duration = now.saturating_duration_since(trouble.since);
        EventCost {
            pings: self.pings - trouble.pings,
            initiations: self.initiations - trouble.initiations,
            duration_ms: millis(duration),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_from_the_beginning_of_the_trouble() {
        let start = crate::mesh::tests::base_instant();
        let mut effort = Effort::default();
        effort.pinged();
        assert_eq!(effort.cost(start), EventCost::default());
        effort.begin(start);
        effort.pinged();
        effort.begin(start + Duration::from_secs(1));
        effort.initiated();
        let cost = effort.cost(start + Duration::from_secs(2));
        assert_eq!(cost.to_string(), "1 ping, 1 initiation, 2000 ms");
        effort.end();
        assert_eq!(effort.cost(start), EventCost::default());
    }
}
