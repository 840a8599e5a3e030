//! In-tunnel probe: liveness, round trip time, and who holds which record.
//!
//! A UDP datagram between two mesh addresses, port [`PROBE_PORT`], inside the WireGuard session; the
//! session authenticates it and refuses replays. 72 bytes; a
//! question may have padding behind it, to learn whether large packets arrive, an answer has none.
//!
//! ```text
//! magic u32 | version u8 | type u8 | path u16 | id u64 | state id 16 | own sequence u64
//! | held sequence u64 | flags u8 | reserved 23
//! ```
//!
//! Flags: 1 the sender sends its data by this path, 2 please send yours by it as well, 4 the sender
//! does not hear the receiver where that one sends. Unknown flags and reserved bytes are ignored.
//!
//! This module also builds and takes apart the IPv6 and UDP headers around it (RFC 8200, RFC 768).

use std::net::Ipv6Addr;

use crate::ids::{Sequence, StateId};

/// UDP port of probes on mesh addresses, both ends.
pub const PROBE_PORT: u16 = 51841;
/// Length of the payload.
pub const PROBE_BYTES: usize = 72;
/// Length with IPv6 and UDP headers.
pub const PROBE_PACKET_BYTES: usize = IPV6_HEADER_BYTES + UDP_HEADER_BYTES + PROBE_BYTES;

pub(crate) const MAGIC: u32 = 0xc5_6d_73_68;
pub(crate) const VERSION: u8 = 1;
const IPV6_HEADER_BYTES: usize = 40;
const UDP_HEADER_BYTES: usize = 8;
const NEXT_HEADER_UDP: u8 = 17;

/// Question or answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeKind {
    /// Answer me on the path this came by.
    Ping,
    /// The answer; id and path are the question's.
    Pong,
}

/// One probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Question or answer.
    pub kind: ProbeKind,
    /// The asker's number of the path; echoed.
    pub path: u16,
    /// The asker's number of the question; echoed.
    pub id: u64,
    /// State id of the sender of this packet.
    pub state: StateId,
    /// Sequence of the sender's own record.
    pub own_sequence: Sequence,
    /// Sequence of the receiver's record that the sender holds; 0 if none.
    pub held_sequence: Sequence,
    /// What the sender thinks of the path.
    pub flags: ProbeFlags,
}

/// What the sender of a question thinks of the path it goes by.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct ProbeFlags {
    /// The sender's data goes by this path.
    pub in_use: bool,
    /// The receiver's data should go by it too.
    pub please_use: bool,
    /// The path the sender uses does not answer.
    pub suspect: bool,
}

impl ProbeFlags {
    const fn decode(bits: u8) -> Self {
        Self {
            in_use: bits & 1 != 0,
            please_use: bits & 2 != 0,
            suspect: bits & 4 != 0,
        }
    }

    const fn encode(self) -> u8 {
        self.in_use as u8 | (self.please_use as u8) << 1 | (self.suspect as u8) << 2
    }
}

impl Probe {
    /// Parses the UDP payload. What follows a probe is padding. Anything else than a probe of this
    /// version is `None`.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let bytes = payload.first_chunk::<PROBE_BYTES>()?;
        if bytes[..4] != MAGIC.to_be_bytes() || bytes[4] != VERSION {
            return None;
        }
        let kind = match bytes[5] {
            0 => ProbeKind::Ping,
            1 => ProbeKind::Pong,
            _ => return None,
        };
        let number = |at: usize| Some(u64::from_be_bytes(bytes[at..at + 8].try_into().ok()?));
        Some(Self {
            kind,
            path: u16::from_be_bytes([bytes[6], bytes[7]]),
            id: number(8)?,
            state: StateId(bytes[16..32].try_into().ok()?),
            own_sequence: Sequence(number(32)?),
            held_sequence: Sequence(number(40)?),
            flags: ProbeFlags::decode(bytes[48]),
        })
    }

    /// The UDP payload.
    #[must_use]
    pub fn encode(&self) -> [u8; PROBE_BYTES] {
        let mut out = [0; PROBE_BYTES];
        out[..4].copy_from_slice(&MAGIC.to_be_bytes());
        out[4] = VERSION;
        out[5] = match self.kind {
            ProbeKind::Ping => 0,
            ProbeKind::Pong => 1,
        };
        out[6..8].copy_from_slice(&self.path.to_be_bytes());
        out[8..16].copy_from_slice(&self.id.to_be_bytes());
        out[16..32].copy_from_slice(self.state.as_bytes());
        out[32..40].copy_from_slice(&self.own_sequence.0.to_be_bytes());
        out[40..48].copy_from_slice(&self.held_sequence.0.to_be_bytes());
        out[48] = self.flags.encode();
        out
    }

    /// The whole IPv6 packet, to be encrypted.
    #[must_use]
    pub fn packet(&self, source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
        self.padded_packet(source, destination, PROBE_PACKET_BYTES)
    }

    /// The same with as many zeros behind it as make it `bytes` long, within [`PROBE_PACKET_BYTES`] and
    /// what a length of 16 bits permits.
    #[must_use]
    pub fn padded_packet(&self, source: Ipv6Addr, destination: Ipv6Addr, bytes: usize) -> Vec<u8> {
        let bytes = bytes.clamp(PROBE_PACKET_BYTES, usize::from(u16::MAX));
        let probe = self.encode();
        if bytes == PROBE_PACKET_BYTES {
            return probe_packet(&probe, source, destination);
        }
        let mut payload = probe.to_vec();
        payload.resize(bytes - IPV6_HEADER_BYTES - UDP_HEADER_BYTES, 0);
        probe_packet(&payload, source, destination)
    }
}

/// The IPv6 packet around a payload, which is short.
pub(crate) fn probe_packet(payload: &[u8], source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    let length = (UDP_HEADER_BYTES + payload.len()) as u16;
    let mut out = Vec::with_capacity(IPV6_HEADER_BYTES + usize::from(length));
    out.extend_from_slice(&[0x60, 0, 0, 0]);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&[NEXT_HEADER_UDP, 64]);
    out.extend_from_slice(&source.octets());
    out.extend_from_slice(&destination.octets());
    out.extend_from_slice(&PROBE_PORT.to_be_bytes());
    out.extend_from_slice(&PROBE_PORT.to_be_bytes());
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(payload);
    let sum = udp_checksum(&out);
    out[46..48].copy_from_slice(&sum.to_be_bytes());
    out
}

/// If `packet` is a probe packet from `source` to `destination`: its UDP payload. The session it came
/// through has authenticated it, so the checksum is not looked at.
#[must_use]
pub fn probe_payload(packet: &[u8], source: Ipv6Addr, destination: Ipv6Addr) -> Option<&[u8]> {
    let (header, udp) = packet.split_at_checked(IPV6_HEADER_BYTES)?;
    let port = PROBE_PORT.to_be_bytes();
    let is_probe = header[0] >> 4 == 6
        && header[6] == NEXT_HEADER_UDP
        && header[8..24] == source.octets()
        && header[24..40] == destination.octets()
        && udp.get(..2)? == port
        && udp.get(2..4)? == port;
    if !is_probe {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    udp.get(UDP_HEADER_BYTES..length)
}

/// The UDP checksum over an IPv6 packet without extension headers (RFC 8200 section 8.1).
fn udp_checksum(packet: &[u8]) -> u16 {
    let (header, udp) = packet.split_at(IPV6_HEADER_BYTES);
    let words = header[8..].chunks(2).chain(udp.chunks(2)).map(|pair| {
        u32::from(u16::from_be_bytes([
            pair[0],
            pair.get(1).copied().unwrap_or(0),
        ]))
    });
    let mut sum = words.sum::<u32>() + udp.len() as u32 + u32::from(NEXT_HEADER_UDP);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    match !(sum as u16) {
        0 => 0xffff,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Probe {
        Probe {
            kind: ProbeKind::Ping,
            path: 3,
            id: 99,
            state: StateId([5; 16]),
            own_sequence: Sequence(7),
            held_sequence: Sequence(8),
            flags: ProbeFlags {
                in_use: true,
                please_use: false,
                suspect: true,
            },
        }
    }

    #[test]
    fn packet_round_trip_and_checksum() {
        let (a, b): (Ipv6Addr, Ipv6Addr) = ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap());
        let mut packet = sample().packet(a, b);
        assert_eq!(packet.len(), PROBE_PACKET_BYTES);
        assert_eq!(
            Probe::decode(probe_payload(&packet, a, b).unwrap()),
            Some(sample())
        );
        assert_eq!(probe_payload(&packet, b, a), None);
        let sum = u16::from_be_bytes([packet[46], packet[47]]);
        packet[46..48].fill(0);
        assert_eq!(udp_checksum(&packet), sum);
    }

    #[test]
    fn padding_is_ignored() {
        let (a, b): (Ipv6Addr, Ipv6Addr) = ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap());
        for bytes in [0, PROBE_PACKET_BYTES, 1281, 1420, 100_000] {
            let packet = sample().padded_packet(a, b, bytes);
            let expected = bytes.clamp(PROBE_PACKET_BYTES, 65_535);
            assert_eq!(packet.len(), expected);
            let payload = probe_payload(&packet, a, b).unwrap();
            assert_eq!(payload.len(), expected - 48);
            assert_eq!(Probe::decode(payload), Some(sample()));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let any = Ipv6Addr::UNSPECIFIED;
            let _ = Probe::decode(&bytes);
            let _ = probe_payload(&bytes, any, any);
        }
    }
}
