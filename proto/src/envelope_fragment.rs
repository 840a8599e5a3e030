//! Envelope fragment: a piece of the sender's own envelope, or of the removals, on its way through a tunnel. Beside probes
//! on their port, so that news reach connected peers when no server can be reached. The session
//! authenticates the packet, the envelope's own signature what it says. No reassembly here.
//!
//! ```text
//! magic u32 | version u8 | type u8 = 2 or 3 | index u8 | count u8 | sequence u64 | 1 to 1,000 bytes
//! ```

use std::net::Ipv6Addr;

use crate::ids::Sequence;
use crate::limits::MAX_ENVELOPE_BYTES;
use crate::probe::{MAGIC, VERSION, probe_packet};

/// Bytes of an envelope in one fragment; with all headers it fits where IPv6 does (RFC 8200 section 5).
pub const FRAGMENT_BYTES: usize = 1000;
/// Fragments of the largest envelope.
pub const MAX_FRAGMENTS: usize = MAX_ENVELOPE_BYTES.div_ceil(FRAGMENT_BYTES);

const HEADER_BYTES: usize = 16;

/// Whose envelope it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Subject {
    /// The sender's own: its record or leave.
    Own = 2,
    /// The administrator's: who is removed.
    Removals = 3,
}

/// One piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnvelopeFragment<'a> {
    /// What it is a piece of; pieces of different ones do not belong together.
    pub subject: Subject,
    /// Sequence of the envelope; pieces of different ones do not belong together.
    pub sequence: Sequence,
    /// Which piece, below `count`.
    pub index: u8,
    /// How many there are, at most [`MAX_FRAGMENTS`].
    pub count: u8,
    /// Content: [`FRAGMENT_BYTES`], or 1 up to that in the last one.
    pub bytes: &'a [u8],
}

impl<'a> EnvelopeFragment<'a> {
    /// The pieces of an encoded envelope, in order; none if it is empty or too large.
    pub fn all(
        subject: Subject,
        sequence: Sequence,
        envelope: &'a [u8],
    ) -> impl Iterator<Item = Self> {
        let count = envelope.len().div_ceil(FRAGMENT_BYTES);
        let fits = envelope.len() <= MAX_ENVELOPE_BYTES;
        let pieces = envelope.chunks(FRAGMENT_BYTES).filter(move |_| fits);
        (0..=u8::MAX).zip(pieces).map(move |(index, bytes)| Self {
            subject,
            sequence,
            index,
            count: u8::try_from(count).unwrap_or(u8::MAX),
            bytes,
        })
    }

    /// Parses the UDP payload. Anything else than a fragment of this version is `None`.
    #[must_use]
    pub fn decode(payload: &'a [u8]) -> Option<Self> {
        let (header, bytes) = payload.split_first_chunk::<HEADER_BYTES>()?;
        if header[..4] != MAGIC.to_be_bytes() || header[4] != VERSION {
            return None;
        }
        let subject = [Subject::Own, Subject::Removals]
            .into_iter()
            .find(|subject| *subject as u8 == header[5])?;
        let (index, count) = (header[6], header[7]);
        let is_last = usize::from(index) + 1 == usize::from(count);
        let length_is_right = if is_last {
            (1..=FRAGMENT_BYTES).contains(&bytes.len())
        } else {
            bytes.len() == FRAGMENT_BYTES
        };
        (index < count && usize::from(count) <= MAX_FRAGMENTS && length_is_right).then(|| Self {
            subject,
            sequence: Sequence(u64::from_be_bytes([
                header[8], header[9], header[10], header[11], header[12], header[13], header[14],
                header[15],
            ])),
            index,
            count,
            bytes,
        })
    }

    /// The UDP payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES + self.bytes.len());
        out.extend_from_slice(&MAGIC.to_be_bytes());
        out.extend_from_slice(&[VERSION, self.subject as u8, self.index, self.count]);
        out.extend_from_slice(&self.sequence.0.to_be_bytes());
        out.extend_from_slice(self.bytes);
        out
    }

    /// The whole IPv6 packet, to be encrypted.
    #[must_use]
    pub fn packet(&self, source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
        probe_packet(&self.encode(), source, destination)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{Probe, probe_payload};
    use proptest::prelude::*;

    #[test]
    fn pieces_travel_and_are_no_probes() {
        let envelope: Vec<u8> = (0..2500_u32).map(|n| n as u8).collect();
        let (here, there) = (Ipv6Addr::LOCALHOST, "fd00::1".parse().unwrap());
        let mut joined = Vec::new();
        for (index, piece) in
            EnvelopeFragment::all(Subject::Own, Sequence(9), &envelope).enumerate()
        {
            let packet = piece.packet(here, there);
            assert!(packet.len() <= 1280);
            let payload = probe_payload(&packet, here, there).unwrap();
            assert_eq!(EnvelopeFragment::decode(payload), Some(piece));
            assert_eq!(Probe::decode(payload), None);
            assert_eq!((usize::from(piece.index), piece.count), (index, 3));
            joined.extend_from_slice(piece.bytes);
        }
        assert_eq!(joined, envelope);
        let large = vec![0; MAX_ENVELOPE_BYTES + 1];
        assert_eq!(
            EnvelopeFragment::all(Subject::Own, Sequence(9), &large).count(),
            0
        );
        assert_eq!(
            EnvelopeFragment::all(Subject::Own, Sequence(9), &large[1..]).count(),
            MAX_FRAGMENTS
        );
    }

    #[test]
    fn wrong_forms_are_refused() {
        let whole = EnvelopeFragment {
            subject: Subject::Removals,
            sequence: Sequence(1),
            index: 0,
            count: 2,
            bytes: &[7; FRAGMENT_BYTES],
        };
        let good = whole.encode();
        assert_eq!(EnvelopeFragment::decode(&good), Some(whole));
        for (at, value) in [(0, 0), (4, 9), (5, 0), (5, 4), (6, 2), (7, 0), (7, 255)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(EnvelopeFragment::decode(&bad), None, "{at}");
        }
        assert_eq!(EnvelopeFragment::decode(&good[..good.len() - 1]), None);
        let mut long = good;
        long.push(0);
        assert_eq!(EnvelopeFragment::decode(&long), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_harmless(bytes in prop::collection::vec(any::<u8>(), 0..1200)) {
            if let Some(piece) = EnvelopeFragment::decode(&bytes) {
                prop_assert_eq!(piece.encode(), bytes);
            }
        }
    }
}
