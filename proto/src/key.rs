//! Keys: WireGuard (X25519), identity (Ed25519), preshared. Private ones zeroize and never print.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::ids::{MemberId, order_by_bytes};

/// The text was not the base64 form of a 32-byte key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key must be 32 bytes in base64 (44 characters)")]
pub struct ParseKeyError;

fn parse_base64(text: &str) -> Result<[u8; 32], ParseKeyError> {
    let mut bytes = STANDARD.decode(text.trim()).map_err(|_| ParseKeyError)?;
    let key = bytes.as_slice().try_into().map_err(|_| ParseKeyError);
    bytes.zeroize();
    key
}

macro_rules! public_key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name(pub [u8; 32]);

        order_by_bytes!($name);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&STANDARD.encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let text = STANDARD.encode(self.0);
                write!(f, "{}({})", stringify!($name), &text[..8])
            }
        }

        impl FromStr for $name {
            type Err = ParseKeyError;

            fn from_str(text: &str) -> Result<Self, ParseKeyError> {
                parse_base64(text).map(Self)
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

macro_rules! secret_bytes {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Zeroize, ZeroizeOnDrop)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Wraps raw bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The raw bytes. Handle with care: they must not reach a log or a message.
            #[must_use]
            pub const fn expose(&self) -> &[u8; 32] {
                &self.0
            }

            /// The base64 form, for key files and `wg` configuration only.
            #[must_use]
            pub fn expose_base64(&self) -> zeroize::Zeroizing<String> {
                zeroize::Zeroizing::new(STANDARD.encode(self.0))
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                subtle::ConstantTimeEq::ct_eq(&self.0[..], &other.0[..]).into()
            }
        }

        impl Eq for $name {}

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(hidden)"))
            }
        }

        impl FromStr for $name {
            type Err = ParseKeyError;

            fn from_str(text: &str) -> Result<Self, ParseKeyError> {
                parse_base64(text).map(Self)
            }
        }
    };
}

public_key!(
    /// A WireGuard public key (X25519).
    WgPublicKey
);
public_key!(
    /// The public half of a node's identity (Ed25519).
    IdentityPublicKey
);
secret_bytes!(
    /// A WireGuard private key (X25519).
    WgPrivateKey
);
secret_bytes!(
    /// A WireGuard preshared key.
    PresharedKey
);

impl WgPrivateKey {
    /// The public key that belongs to it.
    #[must_use]
    pub fn public_key(&self) -> WgPublicKey {
        let secret = x25519_dalek::StaticSecret::from(self.0);
        WgPublicKey(x25519_dalek::PublicKey::from(&secret).to_bytes())
    }
}

impl IdentityPublicKey {
    /// The member id: SHA-256 of the key.
    #[must_use]
    pub fn member_id(&self) -> MemberId {
        MemberId(Sha256::digest(self.0).into())
    }

    /// True if `signature` over `message` is this key's. Uses strict verification, so a signature
    /// cannot be altered into another valid one.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(&self.0).is_ok_and(|key| {
            key.verify_strict(message, &Signature::from_bytes(signature))
                .is_ok()
        })
    }
}

/// A node's identity (Ed25519 private key). Also used for the cluster authentication key and the
/// admin key: all three sign, nothing else.
#[derive(Clone)]
pub struct IdentityKey(SigningKey);

impl IdentityKey {
    /// The key made from 32 random bytes.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The 32 bytes it was made from, for the key file only.
    #[must_use]
    pub fn expose_seed(&self) -> zeroize::Zeroizing<[u8; 32]> {
        zeroize::Zeroizing::new(self.0.to_bytes())
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> IdentityPublicKey {
        IdentityPublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "IdentityKey(hidden, member {})",
            self.public_key().member_id().short()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7748 section 6.1: Alice's key pair.
    #[test]
    fn wireguard_public_key_matches_rfc_7748() {
        let private = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
        let public = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
        let key: WgPrivateKey = private.parse().unwrap();
        assert_eq!(key.public_key().to_string(), public);
    }

    #[test]
    fn private_keys_do_not_print() {
        let key = WgPrivateKey::from_bytes([7; 32]);
        assert_eq!(format!("{key:?}"), "WgPrivateKey(hidden)");
        let identity = IdentityKey::from_seed(&[7; 32]);
        assert!(!format!("{identity:?}").contains("7, 7"));
    }

    #[test]
    fn signatures_verify_and_bind_the_message() {
        let key = IdentityKey::from_seed(&[1; 32]);
        let signature = key.sign(b"message");
        assert!(key.public_key().verify(b"message", &signature));
        assert!(!key.public_key().verify(b"massage", &signature));
    }

    #[test]
    fn bad_base64_is_refused() {
        for bad in [
            "",
            "abc",
            "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTm==",
            "####",
        ] {
            assert_eq!(bad.parse::<WgPublicKey>(), Err(ParseKeyError), "{bad}");
        }
    }
}
