//! Removals: whom the administrator has removed from the cluster. The whole list travels as the leave
//! envelope of the admin key's id, which is never a node's: so servers store, sequence and push it like
//! any other, and nobody without the admin key can write it. Who honours it is decided elsewhere.

use serde::{Deserialize, Serialize};

use crate::derive::ClusterKeys;
use crate::envelope::{Contents, Envelope, EnvelopeError, EnvelopeKind, VerifiedEnvelope};
use crate::ids::{ClusterId, MemberId, Sequence};
use crate::limits::{MAX_NAME_BYTES, MAX_REMOVALS};
use crate::record::is_label;
use crate::secret::AdminKey;

/// One member that was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Removal {
    /// Whom.
    pub id: MemberId,
    /// What it was called, for people.
    pub name: String,
    /// When, milliseconds since 1970 by the administrator's clock, for people.
    pub at_ms: u64,
    /// Cluster id of the oldest secret in force then: the member had that one at least.
    pub secret: ClusterId,
}

/// Everybody who is removed. A list of a higher sequence replaces one of a lower.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Removals {
    /// At most [`MAX_REMOVALS`].
    pub removed: Vec<Removal>,
}

/// Why a list of removals was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemovalsError {
    /// It cannot be sealed, opened or verified.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// It is signed by another key than the cluster's admin key.
    #[error("it is not signed by the admin key of this cluster")]
    Admin,
    /// Not the JSON of a list.
    #[error("the list of removals cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// Too many, or a name that is none.
    #[error("the list of removals is out of bounds: at most {MAX_REMOVALS}, with names of nodes")]
    Bounds,
}

impl Removals {
    /// Seals the list with `keys` and signs it. `nonce` must be fresh random bytes, `sequence` above
    /// every one used before.
    ///
    /// # Errors
    /// [`RemovalsError::Bounds`] if nobody would take it.
    pub fn seal(
        &self,
        keys: &ClusterKeys,
        admin: &AdminKey,
        sequence: Sequence,
        nonce: [u8; 24],
    ) -> Result<VerifiedEnvelope, RemovalsError> {
        self.check()?;
        let contents = Contents {
            kind: EnvelopeKind::Left,
            sequence,
            plaintext: &serde_json::to_vec(self)?,
        };
        Ok(Envelope::seal(keys, &admin.0, contents, nonce)?)
    }

    /// The list in an envelope, if `admin`, the id of the cluster's admin key, wrote it.
    ///
    /// # Errors
    /// [`RemovalsError`] says why it counts for nothing.
    pub fn open(
        envelope: &VerifiedEnvelope,
        keys: &[ClusterKeys],
        admin: MemberId,
    ) -> Result<Self, RemovalsError> {
        if envelope.member() != admin || envelope.kind() != EnvelopeKind::Left {
            return Err(RemovalsError::Admin);
        }
        let list: Self = serde_json::from_slice(&envelope.open(keys)?)?;
        list.check()?;
        Ok(list)
    }

    fn check(&self) -> Result<(), RemovalsError> {
        let named = |removal: &Removal| is_label(&removal.name, MAX_NAME_BYTES);
        if self.removed.len() <= MAX_REMOVALS && self.removed.iter().all(named) {
            Ok(())
        } else {
            Err(RemovalsError::Bounds)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::IdentityKey;

    fn list(count: usize, name: &str) -> Removals {
        let removal = |number: usize| Removal {
            id: MemberId([number as u8; 32]),
            name: name.to_owned(),
            at_ms: u64::MAX,
            secret: ClusterId([2; 32]),
        };
        Removals {
            removed: (0..count).map(removal).collect(),
        }
    }

    #[test]
    fn only_the_admin_key_writes_it() {
        let keys = [ClusterKeys::derive(&[1; 32])];
        let admin = AdminKey(IdentityKey::from_seed(&[3; 32]));
        let id = admin.0.public_key().member_id();
        let list = list(2, "fra-1");
        let sealed = list.seal(&keys[0], &admin, Sequence(4), [0; 24]).unwrap();
        assert_eq!(Removals::open(&sealed, &keys, id).unwrap(), list);
        let thief = AdminKey(IdentityKey::from_seed(&[4; 32]));
        let forged = list.seal(&keys[0], &thief, Sequence(5), [0; 24]).unwrap();
        let refused = Removals::open(&forged, &keys, id);
        assert!(matches!(refused, Err(RemovalsError::Admin)));
        let others = [ClusterKeys::derive(&[2; 32])];
        assert!(Removals::open(&sealed, &others, id).is_err());
    }

    #[test]
    fn the_longest_list_fits_and_a_longer_one_is_refused() {
        let keys = ClusterKeys::derive(&[1; 32]);
        let admin = AdminKey(IdentityKey::from_seed(&[3; 32]));
        let seal = |list: &Removals| list.seal(&keys, &admin, Sequence(1), [0; 24]);
        assert!(seal(&list(MAX_REMOVALS, &"x".repeat(MAX_NAME_BYTES))).is_ok());
        assert!(seal(&list(MAX_REMOVALS + 1, "x")).is_err());
        assert!(seal(&list(1, "a b")).is_err());
    }
}
