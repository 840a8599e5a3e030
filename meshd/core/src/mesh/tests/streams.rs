//! Streams: what users send, a numbered packet every 5 ms, and the longest gap at the receiver.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub(super) const INTERVAL: Duration = Duration::from_millis(5);

#[derive(Debug)]
struct Stream {
    next: Instant,
    number: u64,
    last: Option<(u64, Instant)>,
    gap: Duration,
    /// Length of the packets, bytes.
    bytes: usize,
}

/// Number and sender.
const SMALL: usize = 10;

/// By sender and receiver.
#[derive(Debug, Default)]
pub(super) struct Streams(BTreeMap<(usize, usize), Stream>);

impl Streams {
    pub(super) fn start(&mut self, from: usize, to: usize, now: Instant) {
        self.start_of(SMALL, (from, to), now);
    }

    /// The same with packets of so many bytes.
    pub(super) fn start_of(&mut self, bytes: usize, (from, to): (usize, usize), now: Instant) {
        let stream = Stream {
            next: now,
            number: 0,
            last: Some((0, now)),
            gap: Duration::ZERO,
            bytes,
        };
        self.0.insert((from, to), stream);
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.0.values().map(|stream| stream.next).min()
    }

    /// Packets that leave now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(usize, usize, Vec<u8>)> {
        let due = self.0.iter_mut().filter(|(_, stream)| stream.next <= now);
        due.map(|((from, to), stream)| {
            stream.next = now + INTERVAL;
            stream.number += 1;
            let mut bytes = vec![0x77, *from as u8];
            bytes.extend_from_slice(&stream.number.to_be_bytes());
            bytes.resize(stream.bytes, 0);
            (*from, *to, bytes)
        })
        .collect()
    }

    pub(super) fn received(&mut self, to: usize, bytes: &[u8], now: Instant) {
        let Some(([0x77, from, number @ ..], _)) = bytes.split_first_chunk::<SMALL>() else {
            return;
        };
        let number = u64::from_be_bytes(*number);
        let Some(stream) = self.0.get_mut(&(usize::from(*from), to)) else {
            return;
        };
        let last = stream.last.get_or_insert((number, now));
        if number > last.0 {
            stream.gap = stream.gap.max(now - last.1);
            *last = (number, now);
        }
    }

    /// The longest time without a new packet, beyond the interval, since the last call.
    pub(super) fn blackout(&mut self, from: usize, to: usize, now: Instant) -> Duration {
        let stream = self.0.get_mut(&(from, to)).expect("a stream");
        let open = stream.last.map_or(Duration::MAX, |(_, at)| now - at);
        let gap = std::mem::take(&mut stream.gap).max(open);
        gap.saturating_sub(INTERVAL)
    }
}
