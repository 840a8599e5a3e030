//! Packets of the virtual network: WireGuard messages without their cryptography, and plain datagrams.

use bytes::Bytes;
use mesh_proto::WgPublicKey;

use super::engine::Slot;

/// IPv4 and UDP headers.
const OUTER_BYTES: usize = 28;
const INITIATION_BYTES: usize = 148;
const RESPONSE_BYTES: usize = 92;
const DATA_BYTES: usize = 32;

/// What travels between two sockets.
#[derive(Debug, Clone)]
pub(super) enum Packet {
    /// Only `to` can read who sends it.
    Initiation {
        from: WgPublicKey,
        to: WgPublicKey,
        id: u64,
        /// Where the sender keeps the peer: its receiver index.
        index: Slot,
        /// TAI64N; must increase.
        stamp: u64,
    },
    Response {
        initiation: u64,
        session: u64,
        /// Of the receiver and of the sender.
        indices: (Slot, Slot),
    },
    /// An empty one is a keepalive.
    Data {
        session: u64,
        /// Of the receiver.
        index: Slot,
        counter: u64,
        bytes: Bytes,
    },
    Datagram(Bytes),
}

impl Packet {
    /// Bytes on the wire with IPv4 and UDP headers.
    pub(super) fn wire_bytes(&self) -> usize {
        OUTER_BYTES
            + match self {
                Self::Initiation { .. } => INITIATION_BYTES,
                Self::Response { .. } => RESPONSE_BYTES,
                Self::Data { bytes, .. } => DATA_BYTES + bytes.len(),
                Self::Datagram(bytes) => bytes.len(),
            }
    }

    /// A number for its kind, for traces.
    pub(super) const fn kind(&self) -> u64 {
        match self {
            Self::Initiation { .. } => 1,
            Self::Response { .. } => 2,
            Self::Data { .. } => 3,
            Self::Datagram(_) => 4,
        }
    }
}

const USER_MAGIC: &[u8; 4] = b"user";

/// A packet of a user, told apart by `tag`.
pub(super) fn user_packet(tag: u64) -> Bytes {
    let mut bytes = USER_MAGIC.to_vec();
    bytes.extend_from_slice(&tag.to_be_bytes());
    bytes.into()
}

/// The tag of a user's packet.
pub(super) fn user_tag(bytes: &[u8]) -> Option<u64> {
    let tag = bytes.strip_prefix(USER_MAGIC.as_slice())?;
    Some(u64::from_be_bytes(tag.try_into().ok()?))
}
