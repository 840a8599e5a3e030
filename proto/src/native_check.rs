//! Native check: a question from a node to a member of its own zone, whether it is there without a tunnel.
//!
//! A UDP datagram between node addresses, in the host's own network; port [`native_check_port`]. It is
//! sealed for the cluster, has one length, and does not look like WireGuard:
//!
//! ```text
//! nonce 24 | XChaCha20-Poly1305 of: version u8 | type u8 | from 32 | to 32 | id u64 | seen 16
//! ```
//!
//! Nothing here prevents that one is sent twice: an answer counts for the open question only, and whoever
//! answers bounds how often.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};

use crate::derive::ClusterKeys;
use crate::ids::MemberId;

/// Length of every question and answer.
pub const NATIVE_CHECK_BYTES: usize = NONCE_BYTES + PLAIN_BYTES + TAG_BYTES;

const VERSION: u8 = 1;
const LABEL: &[u8] = b"native check v1";
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
const PLAIN_BYTES: usize = 2 + 32 + 32 + 8 + 16;
/// Distance from the WireGuard port: the port beside that one is that of the probes inside tunnels.
const PORT_DISTANCE: u16 = 2;

/// The port of these datagrams on a node with that WireGuard port; none for the last two ports.
#[must_use]
pub const fn native_check_port(wireguard: u16) -> Option<u16> {
    wireguard.checked_add(PORT_DISTANCE)
}

/// Question or answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NativeCheckKind {
    /// Are you there?
    Ask,
    /// Yes; your question came from this address.
    Answer(IpAddr),
}

/// One datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NativeCheck {
    /// Question or answer.
    pub kind: NativeCheckKind,
    /// Who sends it.
    pub from: MemberId,
    /// For whom it is.
    pub to: MemberId,
    /// The asker's number of the question; echoed.
    pub id: u64,
}

impl NativeCheck {
    /// The datagram. `nonce` has to be random.
    #[must_use]
    pub fn seal(&self, keys: &ClusterKeys, nonce: [u8; NONCE_BYTES]) -> Vec<u8> {
        let (kind, seen) = match self.kind {
            NativeCheckKind::Ask => (0, Ipv6Addr::UNSPECIFIED),
            NativeCheckKind::Answer(IpAddr::V4(seen)) => (1, seen.to_ipv6_mapped()),
            NativeCheckKind::Answer(IpAddr::V6(seen)) => (1, seen),
        };
        let mut plain = Vec::with_capacity(PLAIN_BYTES);
        plain.extend_from_slice(&[VERSION, kind]);
        plain.extend_from_slice(self.from.as_bytes());
        plain.extend_from_slice(self.to.as_bytes());
        plain.extend_from_slice(&self.id.to_be_bytes());
        plain.extend_from_slice(&seen.octets());
        let payload = Payload {
            msg: &plain,
            aad: LABEL,
        };
        let sealed = cipher(keys)
            .encrypt(&XNonce::from(nonce), payload)
            .expect("XChaCha20-Poly1305 seals messages of this length");
        [nonce.as_slice(), &sealed].concat()
    }

    /// Opens a datagram with whichever of the keys it was sealed with. Anything else than a check of this
    /// version and cluster is `None`.
    #[must_use]
    pub fn open(keys: &[ClusterKeys], datagram: &[u8]) -> Option<Self> {
        if datagram.len() != NATIVE_CHECK_BYTES {
            return None;
        }
        let (nonce, sealed) = datagram.split_first_chunk::<NONCE_BYTES>()?;
        let payload = |msg| Payload { msg, aad: LABEL };
        let plain = keys.iter().find_map(|keys| {
            let opened = cipher(keys).decrypt(&XNonce::from(*nonce), payload(sealed));
            opened.ok()
        })?;
        let (head, rest) = plain.split_first_chunk::<2>()?;
        let (from, rest) = rest.split_first_chunk::<32>()?;
        let (to, rest) = rest.split_first_chunk::<32>()?;
        let (id, rest) = rest.split_first_chunk::<8>()?;
        let seen = Ipv6Addr::from(*rest.first_chunk::<16>()?);
        let kind = match head {
            [VERSION, 0] => NativeCheckKind::Ask,
            [VERSION, 1] => NativeCheckKind::Answer(unmapped(seen)),
            _ => return None,
        };
        Some(Self {
            kind,
            from: MemberId(*from),
            to: MemberId(*to),
            id: u64::from_be_bytes(*id),
        })
    }
}

fn unmapped(address: Ipv6Addr) -> IpAddr {
    address
        .to_ipv4_mapped()
        .map_or(IpAddr::V6(address), |v4: Ipv4Addr| IpAddr::V4(v4))
}

fn cipher(keys: &ClusterKeys) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(&Key::from(*keys.native_check_key()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(seed: u8) -> ClusterKeys {
        ClusterKeys::derive(&[seed; 32])
    }

    fn check(kind: NativeCheckKind) -> NativeCheck {
        NativeCheck {
            kind,
            from: MemberId([1; 32]),
            to: MemberId([2; 32]),
            id: 0x0102_0304_0506_0708,
        }
    }

    #[test]
    fn round_trip_with_any_of_the_keys() {
        for kind in [
            NativeCheckKind::Ask,
            NativeCheckKind::Answer("10.0.0.1".parse().unwrap()),
            NativeCheckKind::Answer("2001:db8::1".parse().unwrap()),
        ] {
            let sealed = check(kind).seal(&keys(1), [7; 24]);
            assert_eq!(sealed.len(), NATIVE_CHECK_BYTES);
            let opened = NativeCheck::open(&[keys(2), keys(1)], &sealed);
            assert_eq!(opened, Some(check(kind)));
        }
    }

    #[test]
    fn of_another_cluster_or_changed_or_cut_is_nothing() {
        let sealed = check(NativeCheckKind::Ask).seal(&keys(1), [7; 24]);
        assert_eq!(NativeCheck::open(&[keys(2)], &sealed), None);
        assert_eq!(NativeCheck::open(&[], &sealed), None);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(NativeCheck::open(&[keys(1)], &changed), None, "{at}");
            assert_eq!(NativeCheck::open(&[keys(1)], &sealed[..at]), None, "{at}");
        }
    }

    #[test]
    fn the_port_lies_beside_that_of_the_probes() {
        assert_eq!(native_check_port(51840), Some(51842));
        assert_eq!(native_check_port(u16::MAX), None);
    }
}
