//! What the kernel throws away before this process sees it, made part of the counters: otherwise a packet
//! could vanish between an application and the far end, and nothing here would say so.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::counters::EngineCounters;
use super::sockets::{UdpFamily, UdpSockets};
use crate::linux::tun::queue_drops;

/// Between two looks. Each costs a few system calls.
const PACE: Duration = Duration::from_secs(1);

/// A number of the kernel that only grows, unless what it counts for is made anew.
#[derive(Debug, Default)]
struct Growing {
    last: u64,
}

impl Growing {
    /// How much more it is now.
    const fn growth(&mut self, now: u64) -> u64 {
        let grown = if now < self.last {
            now
        } else {
            now - self.last
        };
        self.last = now;
        grown
    }
}

/// What was seen last.
#[derive(Debug, Default)]
pub(super) struct KernelDrops {
    next: Option<Instant>,
    v4: Growing,
    v6: Growing,
    interface: Growing,
}

impl KernelDrops {
    /// Adds what is new, if it is time to look.
    pub(super) fn note(
        &mut self,
        now: Instant,
        sockets: &UdpSockets,
        interface: Option<&str>,
        counters: &EngineCounters,
    ) {
        if self.next.is_some_and(|next| now < next) {
            return;
        }
        self.next = Some(now + PACE);
        for (family, seen) in [(UdpFamily::V4, &mut self.v4), (UdpFamily::V6, &mut self.v6)] {
            // A kernel that does not tell leaves the counter at 0.
            if let Some(drops) = sockets.receive_drops(family) {
                let grown = seen.growth(drops.into());
                counters
                    .drop_receive_full
                    .fetch_add(grown, Ordering::Relaxed);
            }
        }
        if let Some(drops) = interface.and_then(|name| queue_drops(name).ok()) {
            let grown = self.interface.growth(drops);
            counters.drop_tun_queue.fetch_add(grown, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_growth_counts_and_a_new_interface_starts_from_nothing() {
        let mut seen = Growing::default();
        let grown: Vec<_> = [5, 5, 9, 2, 3].map(|now| seen.growth(now)).into();
        assert_eq!(grown, [5, 0, 4, 2, 1]);
    }
}
