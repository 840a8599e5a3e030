//! Wire types, keys, sealing and codecs of the mesh.
//!
//! Everything here is pure: no sockets, no clock, no randomness, no async. Callers pass random
//! bytes and times in. What travels between nodes and servers is defined here and nowhere else.

#![forbid(unsafe_code)]

pub mod candidate;
pub mod candidate_probe;
pub mod control;
pub mod derive;
pub mod discovery;
pub mod envelope;
pub mod envelope_fragment;
pub mod ids;
pub mod key;
pub mod limits;
pub mod mesh_address;
pub mod native_check;
pub mod probe;
pub mod record;
pub mod removals;
pub mod report;
pub mod request_auth;
pub mod secret;
pub mod stun;

pub use candidate::{Candidate, CandidateKind};
pub use derive::ClusterKeys;
pub use envelope::{Envelope, EnvelopeError, EnvelopeKind, VerifiedEnvelope};
pub use ids::{ClusterId, MemberId, MeshId, Sequence, ServerId, StateId};
pub use key::{IdentityKey, IdentityPublicKey, PresharedKey, WgPrivateKey, WgPublicKey};
pub use record::Record;
pub use removals::{Removal, Removals};
pub use report::Report;
pub use secret::{AdminKey, ClusterSecret};
