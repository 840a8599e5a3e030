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
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

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
    use super::*;

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
