//! Encrypted datagrams on their way out: sealed one behind the other, those of one peer and path as one
//! message that the kernel or the network card cuts. Holds bytes; sends nothing.

use meshd_core::data_plane::PathId;

use super::allowed_ips::Slot;
use super::path::Route;
use super::sockets::Outgoing;

/// Datagrams in one message: what kernels accept at least.
const MAX_SEGMENTS: usize = 64;
/// Bytes in one message: headers must fit into 16 bits as well.
const MAX_MESSAGE_BYTES: usize = 65_000;
/// Bytes in the queue: enough for two large packets; more would only leave the cache.
const ARENA_BYTES: usize = 256 * 1024;

/// Datagrams for one peer by one path, all of `segment` bytes but the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueuedMessage {
    /// Whose.
    pub(super) slot: Slot,
    /// On which path.
    pub(super) path: PathId,
    /// How.
    pub(super) route: Route,
    start: usize,
    length: usize,
    /// Size of each datagram; the last may be shorter.
    pub(super) segment: usize,
}

impl QueuedMessage {
    /// How many datagrams it is.
    pub(super) const fn count(&self) -> usize {
        self.length.div_ceil(self.segment)
    }

    fn takes(&self, slot: Slot, route: Route, path: PathId, length: usize) -> bool {
        self.slot == slot
            && self.route == route
            && self.path == path
            && length <= self.segment
            && self.length.is_multiple_of(self.segment)
            && self.count() < MAX_SEGMENTS
            && self.length + length <= MAX_MESSAGE_BYTES
    }
}

/// The queue. Bounded: what has no room must be sent before.
#[derive(Debug, Default)]
pub(super) struct SendQueue {
    arena: Vec<u8>,
    used: usize,
    messages: Vec<QueuedMessage>,
}

impl SendQueue {
    /// Messages in the queue at most.
    pub(super) const MAX_MESSAGES: usize = 128;

    /// An empty queue. Allocates all that it ever needs.
    pub(super) fn new() -> Self {
        Self {
            arena: vec![0; ARENA_BYTES],
            used: 0,
            messages: Vec::with_capacity(Self::MAX_MESSAGES),
        }
    }

    /// True if a datagram of `bytes` may not fit: send first.
    pub(super) const fn is_full_for(&self, bytes: usize) -> bool {
        self.used + bytes > ARENA_BYTES || self.messages.len() == Self::MAX_MESSAGES
    }

    /// Where to write the next datagram.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.arena[self.used..]
    }

    /// Takes the first `length` bytes written to [`SendQueue::room`], into the last message if it `joins`
    /// and fits.
    pub(super) fn take(
        &mut self,
        slot: Slot,
        path: PathId,
        route: Route,
        length: usize,
        joins: bool,
    ) {
        match self.messages.last_mut() {
            Some(last) if joins && last.takes(slot, route, path, length) => last.length += length,
            _ => self.messages.push(QueuedMessage {
                slot,
                path,
                route,
                start: self.used,
                length,
                segment: length.max(1),
            }),
        }
        self.used += length;
    }

    /// What waits, in order.
    pub(super) fn messages(&self) -> &[QueuedMessage] {
        &self.messages
    }

    /// A message as it is to be sent.
    pub(super) fn outgoing(&self, message: &QueuedMessage) -> Outgoing<'_> {
        let several = message.count() > 1;
        Outgoing {
            route: message.route,
            bytes: self.bytes(message),
            segment: several.then_some(message.segment as u16),
        }
    }

    /// The datagrams of a message, one by one.
    pub(super) fn datagrams(&self, message: &QueuedMessage) -> impl Iterator<Item = &[u8]> {
        self.bytes(message).chunks(message.segment)
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.messages.clear();
        self.used = 0;
    }

    fn bytes(&self, message: &QueuedMessage) -> &[u8] {
        &self.arena[message.start..message.start + message.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn route(port: u16) -> Route {
        Route {
            remote: ([192, 0, 2, 1], port).into(),
            local: None,
        }
    }

    fn put(queue: &mut SendQueue, slot: Slot, port: u16, length: usize, value: u8) {
        queue.room()[..length].fill(value);
        queue.take(slot, route(port).path(), route(port), length, true);
    }

    #[test]
    fn equal_sizes_of_one_path_are_joined_and_a_shorter_one_ends_it() {
        let mut queue = SendQueue::new();
        for length in [100, 100, 60, 100, 120, 120] {
            put(&mut queue, 1, 1, length, 0);
        }
        put(&mut queue, 1, 2, 120, 0);
        put(&mut queue, 2, 2, 120, 0);
        let shape: Vec<_> = queue
            .messages()
            .iter()
            .map(|message| (message.slot, message.segment, message.length))
            .collect();
        assert_eq!(
            shape,
            [
                (1, 100, 260),
                (1, 100, 100),
                (1, 120, 240),
                (1, 120, 120),
                (2, 120, 120)
            ]
        );
        assert_eq!(queue.outgoing(&queue.messages()[0]).segment, Some(100));
        assert_eq!(queue.outgoing(&queue.messages()[1]).segment, None);
        queue.clear();
        assert!(queue.messages().is_empty());
    }

    #[test]
    fn messages_and_queue_are_bounded() {
        let mut queue = SendQueue::new();
        for _ in 0..65 {
            put(&mut queue, 1, 1, 48, 0);
        }
        assert_eq!(queue.messages()[0].count(), 64);
        queue.clear();
        for _ in 0..8 {
            put(&mut queue, 1, 1, 9000, 0);
        }
        assert_eq!(queue.messages()[0].length, 63_000);
        queue.clear();
        let mut number = 0;
        while !queue.is_full_for(2000) {
            put(&mut queue, number, 1, 2000, 0);
            number += 1;
        }
        assert_eq!(number as usize, SendQueue::MAX_MESSAGES);
    }

    proptest! {
        #[test]
        fn every_datagram_comes_out_as_it_went_in(
            steps in proptest::collection::vec((0_u32..2, 1_u16..3, 1_usize..1500, any::<u8>()), 1..100),
        ) {
            let mut queue = SendQueue::new();
            for (slot, port, length, value) in &steps {
                put(&mut queue, *slot, *port, *length, *value);
            }
            let mut out = Vec::new();
            for message in queue.messages() {
                for datagram in queue.datagrams(message) {
                    let port = message.route.remote.port();
                    out.push((message.slot, port, datagram.len(), datagram[0]));
                    prop_assert!(datagram.iter().all(|byte| *byte == datagram[0]));
                }
            }
            prop_assert_eq!(out, steps);
        }
    }
}
