//! Remembers responses to handshake initiations, so that a repeated initiation gets the same answer.
//!
//! An initiator sends the same bytes on several paths and again after short delays. The session layer
//! refuses the second copy (its timestamp is not newer), so if only the response was lost, the repeat
//! would go unanswered. Only authenticated initiations get in here.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Length of an initiation.
pub(super) const INITIATION_BYTES: usize = 148;
/// Length of a response.
pub(super) const RESPONSE_BYTES: usize = 92;
/// How long a response is repeated. Initiators give up on one initiation sooner.
const KEEP: Duration = Duration::from_secs(10);
/// Remembered responses; the oldest go first.
const MAX_ENTRIES: usize = 4096;
/// Repeats of one response, so that a recorded initiation is no endless source of answers.
const MAX_REPEATS: u32 = 64;

type Initiation = [u8; INITIATION_BYTES];

/// Initiations answered lately.
#[derive(Debug, Default)]
pub(super) struct ResponseCache {
    entries: HashMap<Initiation, Entry>,
    order: VecDeque<(Instant, Initiation)>,
}

#[derive(Debug)]
struct Entry {
    peer: u32,
    response: [u8; RESPONSE_BYTES],
    repeats: u32,
}

impl ResponseCache {
    /// Remembers what `peer` (its slot) was answered.
    pub(super) fn insert(&mut self, now: Instant, peer: u32, initiation: &[u8], response: &[u8]) {
        let (Ok(initiation), Ok(response)) =
            (Initiation::try_from(initiation), response.try_into())
        else {
            return;
        };
        self.expire(now);
        if self.order.len() >= MAX_ENTRIES
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
        let entry = Entry {
            peer,
            response,
            repeats: 0,
        };
        if self.entries.insert(initiation, entry).is_none() {
            self.order.push_back((now, initiation));
        }
    }

    /// The peer and the answer that these very bytes got within the last ten seconds.
    pub(super) fn repeat(
        &mut self,
        now: Instant,
        initiation: &[u8],
    ) -> Option<(u32, [u8; RESPONSE_BYTES])> {
        self.expire(now);
        let initiation = Initiation::try_from(initiation).ok()?;
        let entry = self.entries.get_mut(&initiation)?;
        entry.repeats += 1;
        (entry.repeats <= MAX_REPEATS).then_some((entry.peer, entry.response))
    }

    /// Forgets what a peer was answered: its slot may go to another.
    pub(super) fn forget(&mut self, peer: u32) {
        self.entries.retain(|_, entry| entry.peer != peer);
        let entries = &self.entries;
        self.order
            .retain(|(_, initiation)| entries.contains_key(initiation));
    }

    fn expire(&mut self, now: Instant) {
        while let Some((since, initiation)) = self.order.front() {
            if now.saturating_duration_since(*since) < KEEP {
                break;
            }
            self.entries.remove(initiation);
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESPONSE: [u8; RESPONSE_BYTES] = [9; RESPONSE_BYTES];

    fn initiation(number: u32) -> Initiation {
        let mut bytes = [1; INITIATION_BYTES];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        bytes
    }

    #[test]
    fn repeats_equal_bytes_for_ten_seconds() {
        let start = Instant::now();
        let mut cache = ResponseCache::default();
        cache.insert(start, 3, &initiation(1), &RESPONSE);
        assert_eq!(cache.repeat(start, &initiation(1)), Some((3, RESPONSE)));
        assert_eq!(cache.repeat(start, &initiation(2)), None);
        assert_eq!(cache.repeat(start, &initiation(1)[1..]), None);
        let late = start + Duration::from_millis(9_999);
        assert!(cache.repeat(late, &initiation(1)).is_some());
        assert_eq!(cache.repeat(start + KEEP, &initiation(1)), None);
        assert!(cache.order.is_empty());
    }

    #[test]
    fn is_bounded() {
        let now = Instant::now();
        let mut cache = ResponseCache::default();
        for number in 0..=MAX_ENTRIES as u32 {
            cache.insert(now, 1, &initiation(number), &RESPONSE);
        }
        assert_eq!(cache.entries.len(), MAX_ENTRIES);
        assert_eq!(cache.repeat(now, &initiation(0)), None);
        assert!(cache.repeat(now, &initiation(1)).is_some());
        for _ in 0..MAX_REPEATS {
            let _ = cache.repeat(now, &initiation(2));
        }
        assert_eq!(cache.repeat(now, &initiation(2)), None);
    }

    #[test]
    fn forgets_one_peer() {
        let now = Instant::now();
        let mut cache = ResponseCache::default();
        cache.insert(now, 1, &initiation(1), &RESPONSE);
        cache.insert(now, 2, &initiation(2), &RESPONSE);
        cache.forget(1);
        assert_eq!(cache.repeat(now, &initiation(1)), None);
        assert!(cache.repeat(now, &initiation(2)).is_some());
        assert_eq!(cache.order.len(), 1);
    }
}
