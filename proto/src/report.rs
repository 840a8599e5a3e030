//! Report: a node's view of its peers, for the topology. Sealed like a record, fetched on demand.

use serde::{Deserialize, Serialize};

use crate::candidate::CandidateKind;
use crate::control::PeerState;
use crate::ids::MemberId;
use crate::limits::MAX_REPORT_PEERS;

/// What one node says of its tunnels.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    /// One entry for each peer (members across a zone boundary).
    pub peers: Vec<ReportedPeer>,
}

/// One tunnel as one of its ends sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedPeer {
    /// The other end.
    pub id: MemberId,
    /// State of the tunnel.
    pub state: PeerState,
    /// Round trip time in milliseconds, rounded to a class so that jitter does not change reports.
    pub rtt_ms: Option<u32>,
    /// Kind of the endpoint in use.
    pub path_kind: Option<CandidateKind>,
}

/// Why a report was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// Not the JSON of a report.
    #[error("the report cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// Speaks of too many peers.
    #[error("the report speaks of more than {MAX_REPORT_PEERS} peers")]
    TooMany,
}

impl Report {
    /// Parses and checks the plaintext of an envelope.
    ///
    /// # Errors
    /// [`ReportError`] if it is not JSON or too long.
    pub fn decode(plaintext: &[u8]) -> Result<Self, ReportError> {
        let report: Self = serde_json::from_slice(plaintext)?;
        if report.peers.len() > MAX_REPORT_PEERS {
            return Err(ReportError::TooMany);
        }
        Ok(report)
    }

    /// The plaintext for an envelope.
    ///
    /// # Errors
    /// [`ReportError::TooMany`] over the bound.
    pub fn encode(&self) -> Result<Vec<u8>, ReportError> {
        if self.peers.len() > MAX_REPORT_PEERS {
            return Err(ReportError::TooMany);
        }
        Ok(serde_json::to_vec(self)?)
    }
}
