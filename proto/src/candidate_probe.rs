//! Candidate probe: a probe outside the tunnel, on a path that carries no data, between the WireGuard ports of two
//! members. For ends whose WireGuard has one endpoint a peer, as the kernel's has: there no packet of the tunnel
//! can look at another path without taking all others along.
//!
//! On the wire a STUN Binding indication, which nobody answers (RFC 8489 sections 2 and 6.3.2), with one attribute
//! of the range that may be ignored:
//!
//! ```text
//! STUN header 20 | attribute type u16 | length u16 | tag 8 | nonce 24 | XChaCha20-Poly1305 of a probe 72, tag 16
//! ```
//!
//! Keys are of one pair and one direction. Nothing here prevents that one is sent twice: an answer counts for the
//! open question only, and a question is answered and believed in nothing.

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, Zeroizing};

use crate::key::{PresharedKey, WgPrivateKey, WgPublicKey};
use crate::probe::PROBE_BYTES;
use crate::stun::MAGIC_COOKIE;

/// Length of the datagram.
pub const CANDIDATE_PROBE_BYTES: usize = HEADER_BYTES + VALUE_BYTES;
/// Random bytes that each one takes.
pub const CANDIDATE_PROBE_RANDOM: usize = TRANSACTION_BYTES + NONCE_BYTES;

const BINDING_INDICATION: [u8; 2] = [0x00, 0x11];
/// Receivers that do not know it skip it (RFC 8489 section 14).
const ATTRIBUTE: [u8; 2] = [0xc5, 0x6d];
const TRANSACTION_BYTES: usize = 12;
const ATTRIBUTE_HEADER_BYTES: usize = 4;
const HEADER_BYTES: usize = 20 + ATTRIBUTE_HEADER_BYTES;
const TAG_BYTES: usize = 8;
const NONCE_BYTES: usize = 24;
const AUTHENTICATION_BYTES: usize = 16;
const VALUE_BYTES: usize = TAG_BYTES + NONCE_BYTES + PROBE_BYTES + AUTHENTICATION_BYTES;
const LABEL: &[u8] = b"candidate probe v1";

/// Names sender and receiver to whoever knows the public keys of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CandidateTag([u8; TAG_BYTES]);

impl CandidateTag {
    /// The tag of what `from` sends to `to`.
    #[must_use]
    pub fn of(from: &WgPublicKey, to: &WgPublicKey) -> Self {
        let digest = Sha256::new()
            .chain_update(LABEL)
            .chain_update(from.0)
            .chain_update(to.0)
            .finalize();
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&digest[..TAG_BYTES]);
        Self(tag)
    }

    /// The tag of a datagram; none if that is no candidate probe.
    #[must_use]
    pub fn read(datagram: &[u8]) -> Option<Self> {
        let is_one = datagram.len() == CANDIDATE_PROBE_BYTES
            && datagram[..HEADER_BYTES] == header(datagram.get(8..20)?.try_into().ok()?);
        let value = datagram.get(HEADER_BYTES..).filter(|_| is_one)?;
        Some(Self(*value.first_chunk()?))
    }
}

/// The keys of one pair.
#[derive(Clone)]
pub struct CandidateProbeKeys {
    send: Zeroizing<[u8; 32]>,
    receive: Zeroizing<[u8; 32]>,
    send_tag: CandidateTag,
}

impl CandidateProbeKeys {
    /// Derives them from the WireGuard keys of the pair (RFC 5869; the salt is the preshared key).
    #[must_use]
    pub fn derive(
        own: &WgPrivateKey,
        peer: &WgPublicKey,
        preshared_key: Option<&PresharedKey>,
    ) -> Self {
        let public = own.public_key();
        let secret = x25519_dalek::StaticSecret::from(*own.expose());
        let shared = secret.diffie_hellman(&x25519_dalek::PublicKey::from(peer.0));
        let salt = preshared_key.map(|key| key.expose().as_slice());
        let root = Hkdf::<Sha256>::new(salt, shared.as_bytes());
        let key = |from: &WgPublicKey, to: &WgPublicKey| {
            let mut key = Zeroizing::new([0; 32]);
            root.expand_multi_info(&[LABEL, &from.0, &to.0], &mut *key)
                .expect("32 bytes is a valid HKDF-SHA-256 output length");
            key
        };
        Self {
            send: key(&public, peer),
            receive: key(peer, &public),
            send_tag: CandidateTag::of(&public, peer),
        }
    }

    /// The datagram. `random` has to be that, each time.
    #[must_use]
    pub fn seal(&self, probe: &[u8; PROBE_BYTES], random: [u8; CANDIDATE_PROBE_RANDOM]) -> Vec<u8> {
        let mut transaction = [0; TRANSACTION_BYTES];
        let (first, nonce) = random.split_at(TRANSACTION_BYTES);
        transaction.copy_from_slice(first);
        let header = header(transaction);
        let payload = Payload {
            msg: probe,
            aad: &header,
        };
        let sealed = cipher(&self.send)
            .encrypt(&nonce_of(nonce), payload)
            .expect("XChaCha20-Poly1305 seals messages of this length");
        [header.as_slice(), &self.send_tag.0, nonce, &sealed].concat()
    }

    /// The probe; none if the far end of the pair has not sealed that.
    #[must_use]
    pub fn open(&self, datagram: &[u8]) -> Option<[u8; PROBE_BYTES]> {
        CandidateTag::read(datagram)?;
        let (header, value) = datagram.split_at_checked(HEADER_BYTES)?;
        let (nonce, sealed) = value.get(TAG_BYTES..)?.split_at_checked(NONCE_BYTES)?;
        let payload = Payload {
            msg: sealed,
            aad: header,
        };
        let mut plain = cipher(&self.receive)
            .decrypt(&nonce_of(nonce), payload)
            .ok()?;
        let probe = plain.as_slice().try_into().ok();
        plain.zeroize();
        probe
    }
}

impl std::fmt::Debug for CandidateProbeKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CandidateProbeKeys(hidden)")
    }
}

fn header(transaction: [u8; TRANSACTION_BYTES]) -> [u8; HEADER_BYTES] {
    let length = |bytes: usize| u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes();
    let mut out = [0; HEADER_BYTES];
    out[..2].copy_from_slice(&BINDING_INDICATION);
    out[2..4].copy_from_slice(&length(ATTRIBUTE_HEADER_BYTES + VALUE_BYTES));
    out[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
    out[8..20].copy_from_slice(&transaction);
    out[20..22].copy_from_slice(&ATTRIBUTE);
    out[22..].copy_from_slice(&length(VALUE_BYTES));
    out
}

fn cipher(key: &[u8; 32]) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(&Key::from(*key))
}

fn nonce_of(bytes: &[u8]) -> XNonce {
    let mut nonce = [0; NONCE_BYTES];
    nonce.copy_from_slice(bytes);
    XNonce::from(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stun;

    fn pair() -> [(WgPrivateKey, CandidateProbeKeys); 2] {
        let [a, b] = [1, 2].map(|seed| WgPrivateKey::from_bytes([seed; 32]));
        let psk = PresharedKey::from_bytes([3; 32]);
        let of_a = CandidateProbeKeys::derive(&a, &b.public_key(), Some(&psk));
        let of_b = CandidateProbeKeys::derive(&b, &a.public_key(), Some(&psk));
        [(a, of_a), (b, of_b)]
    }

    #[test]
    fn the_far_end_opens_what_this_one_seals() {
        let [(a, of_a), (b, of_b)] = pair();
        let probe = [7; PROBE_BYTES];
        let datagram = of_a.seal(&probe, [9; CANDIDATE_PROBE_RANDOM]);
        assert_eq!(datagram.len(), CANDIDATE_PROBE_BYTES);
        assert_eq!(of_b.open(&datagram), Some(probe));
        assert_eq!(of_a.open(&datagram), None, "not what it sent itself");
        let tag = CandidateTag::of(&a.public_key(), &b.public_key());
        assert_eq!(CandidateTag::read(&datagram), Some(tag));
        assert_ne!(CandidateTag::of(&b.public_key(), &a.public_key()), tag);
    }

    #[test]
    fn any_other_byte_or_key_is_refused() {
        let [(a, of_a), (b, of_b)] = pair();
        let datagram = of_a.seal(&[7; PROBE_BYTES], [9; CANDIDATE_PROBE_RANDOM]);
        for at in (0..HEADER_BYTES).chain(HEADER_BYTES + TAG_BYTES..datagram.len()) {
            let mut other = datagram.clone();
            other[at] ^= 1;
            assert_eq!(of_b.open(&other), None, "byte {at}");
        }
        assert_eq!(of_b.open(&datagram[..datagram.len() - 1]), None);
        assert_eq!(of_b.open(&[datagram.as_slice(), &[0]].concat()), None);
        let without = CandidateProbeKeys::derive(&b, &a.public_key(), None);
        assert_eq!(without.open(&datagram), None, "another preshared key");
    }

    #[test]
    fn for_others_it_is_stun_that_asks_for_nothing() {
        let [(_, of_a), _] = pair();
        let datagram = of_a.seal(&[7; PROBE_BYTES], [9; CANDIDATE_PROBE_RANDOM]);
        assert!(stun::is_stun(&datagram) && CandidateTag::read(&datagram).is_some());
        assert_eq!(stun::decode_request(&datagram), None);
        assert_eq!(stun::decode_response(&datagram), None);
        let request = stun::encode_request(stun::TransactionId([1; 12]));
        assert_eq!(CandidateTag::read(&request), None);
    }

    #[test]
    fn the_secrets_do_not_print() {
        let [(_, keys), _] = pair();
        assert_eq!(format!("{keys:?}"), "CandidateProbeKeys(hidden)");
    }
}
