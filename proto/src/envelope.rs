//! Envelope: the sealed, signed, sequenced form in which records and reports travel.
//!
//! Layout (integers big-endian); the signature covers everything before it:
//!
//! ```text
//! version u8 | kind u8 | cluster id 32 | member id 32 | identity public key 32 | sequence u64
//! | ciphertext length u32 | ciphertext (nonce 24, XChaCha20-Poly1305) | Ed25519 signature 64
//! ```
//!
//! Associated data of the AEAD: version, kind, cluster id, member id, sequence. An [`Envelope`] has
//! been parsed only; a [`VerifiedEnvelope`] is proven to be written by its member.

use std::sync::Arc;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};

use crate::derive::ClusterKeys;
use crate::ids::{ClusterId, MemberId, Sequence};
use crate::key::{IdentityKey, IdentityPublicKey};
use crate::limits::MAX_CIPHERTEXT_BYTES;

#[cfg(test)]
mod tests;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 2 + 32 + 32 + 32 + 8 + 4;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
const SIGNATURE_BYTES: usize = 64;
/// Plaintexts are padded to a multiple of this, so that a length tells little.
const PADDING_BYTES: usize = 256;

/// What an envelope carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum EnvelopeKind {
    /// What a node says of itself.
    Record = 0,
    /// The node left for good; the ciphertext holds nothing of interest.
    Left = 1,
    /// A node's view of its peers. Sequenced apart from records.
    Report = 2,
}

/// Why an envelope was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Too short, too long, or lengths that do not add up.
    #[error("the envelope is malformed")]
    Malformed,
    /// A version this build does not know.
    #[error("the envelope has version {0}, this build reads version 1; update it")]
    Version(u8),
    /// The member id is not the hash of the identity public key.
    #[error("the member id does not belong to the identity key")]
    MemberId,
    /// The signature is not the member's.
    #[error("the signature is wrong")]
    Signature,
    /// It was written for another cluster.
    #[error("the envelope belongs to another cluster")]
    Cluster,
    /// It cannot be decrypted with this cluster's secret.
    #[error("the envelope cannot be opened with this cluster's secret")]
    Sealed,
}

/// An envelope as parsed from bytes. Nothing in it is proven; see [`Envelope::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    kind: EnvelopeKind,
    cluster: ClusterId,
    member: MemberId,
    identity: IdentityPublicKey,
    sequence: Sequence,
    ciphertext: Vec<u8>,
    signature: [u8; SIGNATURE_BYTES],
}

/// An envelope whose member id, identity key and signature fit together. It is never changed, so clones share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedEnvelope(Arc<Envelope>);

/// What is sealed, and as what.
#[derive(Debug, Clone, Copy)]
pub struct Contents<'a> {
    /// Record, leave or report.
    pub kind: EnvelopeKind,
    /// Must be above every sequence this node published for the kind.
    pub sequence: Sequence,
    /// JSON without trailing white space; spaces are appended as padding.
    pub plaintext: &'a [u8],
}

impl Envelope {
    /// Seals and signs `contents`. `nonce` must be fresh random bytes.
    ///
    /// # Errors
    /// [`EnvelopeError::Malformed`] if the plaintext is over the size limit.
    pub fn seal(
        keys: &ClusterKeys,
        identity: &IdentityKey,
        contents: Contents<'_>,
        nonce: [u8; NONCE_BYTES],
    ) -> Result<VerifiedEnvelope, EnvelopeError> {
        let public = identity.public_key();
        let mut envelope = Self {
            kind: contents.kind,
            cluster: keys.cluster_id(),
            member: public.member_id(),
            identity: public,
            sequence: contents.sequence,
            ciphertext: nonce.to_vec(),
            signature: [0; SIGNATURE_BYTES],
        };
        let mut padded = contents.plaintext.to_vec();
        padded.resize(padded.len().next_multiple_of(PADDING_BYTES), b' ');
        let sealed = envelope
            .cipher(keys)
            .encrypt(
                &XNonce::from(nonce),
                Payload {
                    msg: &padded,
                    aad: &envelope.associated_data(),
                },
            )
            .map_err(|_| EnvelopeError::Malformed)?;
        envelope.ciphertext.extend_from_slice(&sealed);
        if envelope.ciphertext.len() > MAX_CIPHERTEXT_BYTES {
            return Err(EnvelopeError::Malformed);
        }
        envelope.signature = identity.sign(&envelope.signed_bytes());
        Ok(VerifiedEnvelope(Arc::new(envelope)))
    }

    /// Parses bytes from outside.
    ///
    /// # Errors
    /// [`EnvelopeError::Malformed`] or [`EnvelopeError::Version`].
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let mut reader = Reader(bytes);
        let version = reader.take::<1>()?[0];
        if version != VERSION {
            return Err(EnvelopeError::Version(version));
        }
        let kind = match reader.take::<1>()?[0] {
            0 => EnvelopeKind::Record,
            1 => EnvelopeKind::Left,
            2 => EnvelopeKind::Report,
            _ => return Err(EnvelopeError::Malformed),
        };
        let cluster = ClusterId(reader.take()?);
        let member = MemberId(reader.take()?);
        let identity = IdentityPublicKey(reader.take()?);
        let sequence = Sequence(u64::from_be_bytes(reader.take()?));
        let length = u32::from_be_bytes(reader.take()?) as usize;
        if !(NONCE_BYTES + TAG_BYTES..=MAX_CIPHERTEXT_BYTES).contains(&length) {
            return Err(EnvelopeError::Malformed);
        }
        let ciphertext = reader.slice(length)?.to_vec();
        let signature = reader.take()?;
        if !reader.0.is_empty() {
            return Err(EnvelopeError::Malformed);
        }
        Ok(Self {
            kind,
            cluster,
            member,
            identity,
            sequence,
            ciphertext,
            signature,
        })
    }

    /// Checks that the member id is the hash of the identity key and that the signature is its own.
    ///
    /// # Errors
    /// [`EnvelopeError::MemberId`] or [`EnvelopeError::Signature`].
    pub fn verify(self) -> Result<VerifiedEnvelope, EnvelopeError> {
        if self.identity.member_id() != self.member {
            return Err(EnvelopeError::MemberId);
        }
        if !self.identity.verify(&self.signed_bytes(), &self.signature) {
            return Err(EnvelopeError::Signature);
        }
        Ok(VerifiedEnvelope(Arc::new(self)))
    }

    fn header(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES + self.ciphertext.len() + SIGNATURE_BYTES);
        out.extend_from_slice(&[VERSION, self.kind as u8]);
        out.extend_from_slice(self.cluster.as_bytes());
        out.extend_from_slice(self.member.as_bytes());
        out.extend_from_slice(&self.identity.0);
        out.extend_from_slice(&self.sequence.0.to_be_bytes());
        out
    }

    fn signed_bytes(&self) -> Vec<u8> {
        let mut out = self.header();
        out.extend_from_slice(&(self.ciphertext.len() as u32).to_be_bytes());
        out.extend_from_slice(&self.ciphertext);
        out
    }

    fn associated_data(&self) -> Vec<u8> {
        let mut out = vec![VERSION, self.kind as u8];
        out.extend_from_slice(self.cluster.as_bytes());
        out.extend_from_slice(self.member.as_bytes());
        out.extend_from_slice(&self.sequence.0.to_be_bytes());
        out
    }

    fn cipher(&self, keys: &ClusterKeys) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&Key::from(*keys.member_sealing_key(&self.member)))
    }
}

impl VerifiedEnvelope {
    /// The bytes that travel.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.0.signed_bytes();
        out.extend_from_slice(&self.0.signature);
        out
    }

    /// What it carries.
    #[must_use]
    pub fn kind(&self) -> EnvelopeKind {
        self.0.kind
    }

    /// The cluster it was written for.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.0.cluster
    }

    /// Who wrote it.
    #[must_use]
    pub fn member(&self) -> MemberId {
        self.0.member
    }

    /// Its version.
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        self.0.sequence
    }

    /// Decrypts with the first of `keys` that fits the cluster id. Padding is left in place: JSON
    /// readers skip it.
    ///
    /// # Errors
    /// [`EnvelopeError::Cluster`] if no key is of its cluster, [`EnvelopeError::Sealed`] if
    /// decryption fails.
    pub fn open(&self, keys: &[ClusterKeys]) -> Result<Vec<u8>, EnvelopeError> {
        let envelope = &self.0;
        let keys = keys
            .iter()
            .find(|keys| keys.cluster_id() == envelope.cluster)
            .ok_or(EnvelopeError::Cluster)?;
        let (nonce, sealed) = envelope
            .ciphertext
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or(EnvelopeError::Malformed)?;
        envelope
            .cipher(keys)
            .decrypt(
                &XNonce::from(*nonce),
                Payload {
                    msg: sealed,
                    aad: &envelope.associated_data(),
                },
            )
            .map_err(|_| EnvelopeError::Sealed)
    }
}

/// Takes fields off the front of a byte slice.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], EnvelopeError> {
        let (head, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(EnvelopeError::Malformed)?;
        self.0 = rest;
        Ok(*head)
    }

    fn slice(&mut self, length: usize) -> Result<&'a [u8], EnvelopeError> {
        let (head, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(EnvelopeError::Malformed)?;
        self.0 = rest;
        Ok(head)
    }
}
