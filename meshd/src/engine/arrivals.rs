//! Where received datagrams lie: room for many, filled by one system call.

use std::io;

use super::path::Route;
use super::sockets::{MESSAGE_BYTES, Received, UdpFamily, UdpSockets};

/// Messages received at once while the kernel joins datagrams: each may be as large as dozens.
const MESSAGES_JOINED: usize = 8;
/// Messages received at once while it does not.
const MESSAGES_SINGLE: usize = 32;

/// The datagrams of one receive.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// Memory is only used where something was received into.
    buffer: Vec<u8>,
    messages: Vec<Received>,
    room: usize,
}

impl Arrivals {
    /// Empty. Allocates all that it ever needs.
    pub(super) fn new() -> Self {
        Self {
            buffer: vec![0; MESSAGES_SINGLE * MESSAGE_BYTES],
            messages: Vec::with_capacity(MESSAGES_SINGLE),
            room: MESSAGES_JOINED,
        }
    }

    /// Replaces what is here by what has arrived; nothing is no error.
    pub(super) fn receive(&mut self, sockets: &UdpSockets, family: UdpFamily) -> io::Result<()> {
        let buffer = &mut self.buffer[..self.room * MESSAGE_BYTES];
        sockets.receive(family, buffer, &mut self.messages)?;
        let any_joined = self.messages.iter().any(|message| message.joined);
        self.room = if any_joined {
            MESSAGES_JOINED
        } else {
            MESSAGES_SINGLE
        };
        Ok(())
    }

    /// How many datagrams there are.
    pub(super) fn datagrams(&self) -> usize {
        let counts = self.messages.iter();
        counts
            .map(|message| message.length.div_ceil(message.segment).max(1))
            .sum()
    }

    /// The datagrams with the way they came.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Route, &[u8])> {
        self.messages.iter().flat_map(|message| {
            let bytes = &self.buffer[message.start..message.start + message.length];
            let datagrams = bytes.chunks(message.segment);
            datagrams.map(|datagram| (message.route, datagram))
        })
    }
}
