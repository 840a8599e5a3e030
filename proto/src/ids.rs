//! Identifiers: fixed-size newtypes with a hex text form. They are public, never secret.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The text was not the hex form of an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {digits} hex digits, got {got:?}")]
pub struct ParseIdError {
    what: &'static str,
    digits: usize,
    got: String,
}

/// Lower-case hex of `bytes`.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)]);
        text.push(DIGITS[usize::from(byte & 15)]);
    }
    text
}

/// The bytes of a hex text of exactly `N` bytes; upper and lower case are accepted.
#[must_use]
pub fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != N * 2 || !text.is_ascii() {
        return None;
    }
    let mut out = [0; N];
    for (index, byte) in out.iter_mut().enumerate() {
        let pair = text.get(index * 2..index * 2 + 2)?;
        if pair.starts_with('+') {
            return None;
        }
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(out)
}

/// The first eight bytes as a number: it orders as the bytes do.
pub(crate) fn first_number(bytes: &[u8]) -> u64 {
    bytes
        .first_chunk()
        .map_or(0, |first| u64::from_be_bytes(*first))
}

/// Orders a newtype around an array as its bytes do. Nearly always the first eight of them decide, and a
/// number is compared faster than a slice: maps by id or key are walked for every packet of a probe.
macro_rules! order_by_bytes {
    ($name:ident) => {
        impl Ord for $name {
            #[inline]
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                $crate::ids::first_number(&self.0)
                    .cmp(&$crate::ids::first_number(&other.0))
                    .then_with(|| self.0.cmp(&other.0))
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }
    };
}
pub(crate) use order_by_bytes;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name(pub [u8; $len]);

        order_by_bytes!($name);

        impl $name {
            /// The raw bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// The first six hex digits: enough to tell members of one mesh apart on a screen.
            #[must_use]
            pub fn short(&self) -> String {
                to_hex(&self.0[..3])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&to_hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                from_hex(text).map(Self).ok_or_else(|| ParseIdError {
                    what: $what,
                    digits: $len * 2,
                    got: text.chars().take(80).collect(),
                })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}

id!(
    /// Names a cluster at a discovery server: SHA-256 of the cluster authentication public key.
    ClusterId, 32, "a cluster id"
);
id!(
    /// Names a node: SHA-256 of its identity public key.
    MemberId, 32, "a member id"
);
id!(
    /// Random, made once by `cluster init`; decides the mesh ULA and outlives secret rotations.
    MeshId, 16, "a mesh id"
);
id!(
    /// Random, lives as long as the sessions of a WireGuard device do.
    StateId, 16, "a state id"
);
id!(
    /// Random, made once by a discovery server; requests are signed for one server only.
    ServerId, 16, "a server id"
);

/// Version of a node's record: larger is newer. Milliseconds since 1970 where the clock was right.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The sequence to publish next: above the last one, and near the clock (milliseconds since
    /// 1970) so that a node that lost its state still comes out above what it published before.
    #[must_use]
    pub fn next(last: Option<Self>, clock_ms: u64) -> Self {
        Self(last.map_or(clock_ms, |last| clock_ms.max(last.0.saturating_add(1))))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Caches on disk and lists on screens keep the order of the bytes.
        #[test]
        fn ids_order_as_their_bytes_do(
            (a, b) in (any::<[u8; 32]>(), any::<[u8; 32]>()),
            same in 0_usize..=32,
        ) {
            let mut b = b;
            b[..same].copy_from_slice(&a[..same]);
            prop_assert_eq!(MemberId(a).cmp(&MemberId(b)), a.cmp(&b));
            let keys = (crate::WgPublicKey(a), crate::WgPublicKey(b));
            prop_assert_eq!(keys.0.cmp(&keys.1), a.cmp(&b));
        }
    }

    #[test]
    fn hex_round_trip_and_refusals() {
        let id = MemberId([0xab; 32]);
        assert_eq!(id.to_string().parse::<MemberId>(), Ok(id));
        assert_eq!(id.short(), "ababab");
        for bad in ["", "ab", "+1", &"g".repeat(64), &"\u{e4}".repeat(32)] {
            assert!(bad.parse::<MemberId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sequence_grows_with_a_clock_in_the_past() {
        assert_eq!(Sequence::next(None, 7), Sequence(7));
        assert_eq!(Sequence::next(Some(Sequence(100)), 7), Sequence(101));
        assert_eq!(Sequence::next(Some(Sequence(100)), 700), Sequence(700));
    }
}
