//! Traffic: what users send through the tunnels, and how long it stays away.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Happening, World};
use crate::sim::NodeId;
use crate::sim::time::SimTime;

#[derive(Debug, Clone, Copy)]
struct Stream {
    from: NodeId,
    to: NodeId,
    every: Duration,
    until: SimTime,
}

#[derive(Debug, Clone, Copy, Default)]
struct Arrivals {
    last: SimTime,
    longest: Duration,
    count: u64,
}

#[derive(Debug, Default)]
pub(super) struct Traffic {
    streams: Vec<Stream>,
    arrivals: BTreeMap<(NodeId, NodeId), Arrivals>,
}

impl Traffic {
    pub(super) fn arrived(&mut self, from: NodeId, to: NodeId, _tag: u64, now: SimTime) {
        let seen = self.arrivals.entry((from, to)).or_default();
        seen.longest = seen.longest.max(now.saturating_sub(seen.last));
        seen.last = now;
        seen.count += 1;
    }
}

impl World {
    /// One node's users send to another's, every so often, for so long.
    pub fn send(&mut self, from: NodeId, to: NodeId, every: Duration, time: Duration) {
        self.traffic.streams.push(Stream {
            from,
            to,
            every,
            until: self.now + time,
        });
        let number = self.traffic.streams.len() - 1;
        self.agenda.push(self.now, Happening::Stream(number));
    }

    /// Forgets what arrived so far.
    pub fn forget_traffic(&mut self) {
        let now = self.now;
        for seen in self.traffic.arrivals.values_mut() {
            *seen = Arrivals {
                last: now,
                ..Arrivals::default()
            };
        }
    }

    /// Packets that arrived, and the longest time without any since [`Self::forget_traffic`], until the
    /// last of them.
    #[must_use]
    pub fn arrivals(&self, from: NodeId, to: NodeId) -> (u64, Duration) {
        let seen = self.traffic.arrivals.get(&(from, to));
        seen.map_or((0, Duration::ZERO), |seen| (seen.count, seen.longest))
    }

    pub(super) fn stream(&mut self, number: usize) {
        let stream = self.traffic.streams[number];
        if self.now >= stream.until {
            return;
        }
        self.send_one(stream.from, stream.to, number as u64);
        self.agenda
            .push(self.now + stream.every, Happening::Stream(number));
    }

    /// One packet of a user.
    pub(in crate::sim) fn send_one(&mut self, from: NodeId, to: NodeId, tag: u64) {
        let key = self.nodes[to].key;
        if self.nodes[from].is_awake() {
            let tick = self.nodes[from].tick(self.now);
            self.nodes[from].engine.send_user(key, tag, tick);
            self.drain(from);
        }
    }
}
