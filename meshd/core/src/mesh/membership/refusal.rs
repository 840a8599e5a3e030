//! Refusal: why an envelope is not taken, and how often that happened.

use mesh_proto::Sequence;
use mesh_proto::envelope::EnvelopeError;
use mesh_proto::record::RecordError;

use super::{MAX_MEMBERS, MAX_RECORD_BYTES};

/// Why an envelope was refused.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum Refusal {
    #[error("sequence {got} is below {held}, which was seen already")]
    Rollback { held: Sequence, got: Sequence },
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("a report is not a record")]
    Kind,
    #[error("there are {MAX_MEMBERS} members, or {} MiB of records, already", MAX_RECORD_BYTES >> 20)]
    Full,
    #[error("the administrator has removed it")]
    Barred,
    #[error("its lease has been over for long and it is not known here")]
    LongOver,
}

/// Envelopes refused since the start, by reason.
#[derive(Debug, Default, Clone, Copy)]
pub(in super::super) struct RefusalCounts {
    pub(in super::super) rollback: u64,
    pub(in super::super) sealed: u64,
    pub(in super::super) malformed: u64,
    pub(in super::super) full: u64,
}

impl RefusalCounts {
    pub(in super::super) const fn count(&mut self, refusal: &Refusal) {
        let count = match refusal {
            Refusal::Rollback { .. } => &mut self.rollback,
            Refusal::Envelope(EnvelopeError::Sealed | EnvelopeError::Cluster) => &mut self.sealed,
            Refusal::Full => &mut self.full,
            Refusal::LongOver | Refusal::Barred => return,
            Refusal::Envelope(_) | Refusal::Record(_) | Refusal::Kind => &mut self.malformed,
        };
        *count += 1;
    }
}
