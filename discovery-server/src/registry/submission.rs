//! Submission: an envelope from outside, checked to be what its path says. Whether it is newer than
//! what is stored is the registry's question, not asked here.

use bytes::Bytes;
use mesh_proto::{ClusterId, Envelope, EnvelopeError, EnvelopeKind, MemberId, Sequence};

/// Names a member of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The cluster.
    pub cluster: ClusterId,
    /// The member.
    pub member: MemberId,
}

/// An envelope whose hash, signature and ids are right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    pub(crate) key: Key,
    pub(crate) kind: EnvelopeKind,
    pub(crate) sequence: Sequence,
    pub(crate) bytes: Bytes,
}

/// Why an envelope was refused before looking at what is stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmissionError {
    /// It does not parse, or hash or signature are wrong.
    #[error("the envelope was refused: {0}")]
    Envelope(#[from] EnvelopeError),
    /// It was written for another cluster than the path names.
    #[error("the envelope belongs to another cluster than the path")]
    OtherCluster,
    /// It was written by another member than the path names.
    #[error("the envelope belongs to another member than the path; a node writes only for itself")]
    OtherMember,
    /// A report where a record belongs, or the other way round.
    #[error("the envelope is a {0:?}, which does not belong at this path")]
    Kind(EnvelopeKind),
}

impl Submission {
    /// Checks the record or leave in `bytes` for the path `key`.
    ///
    /// # Errors
    /// [`SubmissionError`]
    pub fn record(key: Key, bytes: Bytes) -> Result<Self, SubmissionError> {
        Self::check(key, bytes, |kind| kind != EnvelopeKind::Report)
    }

    /// Checks the report in `bytes` for the path `key`.
    ///
    /// # Errors
    /// [`SubmissionError`]
    pub fn report(key: Key, bytes: Bytes) -> Result<Self, SubmissionError> {
        Self::check(key, bytes, |kind| kind == EnvelopeKind::Report)
    }

    fn check(
        key: Key,
        bytes: Bytes,
        belongs: impl Fn(EnvelopeKind) -> bool,
    ) -> Result<Self, SubmissionError> {
        let envelope = Envelope::decode(&bytes)?.verify()?;
        if envelope.cluster() != key.cluster {
            return Err(SubmissionError::OtherCluster);
        }
        if envelope.member() != key.member {
            return Err(SubmissionError::OtherMember);
        }
        if !belongs(envelope.kind()) {
            return Err(SubmissionError::Kind(envelope.kind()));
        }
        Ok(Self {
            key,
            kind: envelope.kind(),
            sequence: envelope.sequence(),
            bytes,
        })
    }

    /// Whose it is.
    #[must_use]
    pub const fn key(&self) -> Key {
        self.key
    }
}
