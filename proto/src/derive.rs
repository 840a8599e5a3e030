//! Keys derived from one cluster secret by HKDF-SHA-256, each under a label of its own.

use hkdf::Hkdf;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::ids::{ClusterId, MemberId};
use crate::key::{IdentityKey, IdentityPublicKey, PresharedKey};

/// Everything a node derives from one 32-byte cluster secret (RFC 5869, salt `mesh v1`).
#[derive(Clone)]
pub struct ClusterKeys {
    sealing: Zeroizing<[u8; 32]>,
    psk_root: Zeroizing<[u8; 32]>,
    auth: IdentityKey,
    cluster_id: ClusterId,
}

fn expand(secret: &[u8; 32], label: &[u8], context: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut info = vec![label];
    info.extend_from_slice(context);
    let mut out = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(Some(b"mesh v1"), secret)
        .expand_multi_info(&info, &mut *out)
        .expect("32 bytes is a valid HKDF-SHA-256 output length");
    out
}

/// The cluster id that belongs to a cluster authentication public key: its SHA-256. A server needs
/// nothing else to check that a request comes from a holder of the secret.
#[must_use]
pub fn cluster_id_of(auth: &IdentityPublicKey) -> ClusterId {
    ClusterId(Sha256::digest(auth.0).into())
}

impl ClusterKeys {
    /// Derives all keys of `secret`.
    #[must_use]
    pub fn derive(secret: &[u8; 32]) -> Self {
        let auth = IdentityKey::from_seed(&expand(secret, b"cluster authentication", &[]));
        let cluster_id = cluster_id_of(&auth.public_key());
        Self {
            sealing: expand(secret, b"sealing", &[]),
            psk_root: expand(secret, b"wireguard psk", &[]),
            auth,
            cluster_id,
        }
    }

    /// The cluster id, as `meshctl cluster id` prints it.
    #[must_use]
    pub const fn cluster_id(&self) -> ClusterId {
        self.cluster_id
    }

    /// Signs requests to discovery servers.
    #[must_use]
    pub const fn auth_key(&self) -> &IdentityKey {
        &self.auth
    }

    /// The key that seals what `member` publishes.
    #[must_use]
    pub(crate) fn member_sealing_key(&self, member: &MemberId) -> Zeroizing<[u8; 32]> {
        expand(&self.sealing, b"member sealing", &[member.as_bytes()])
    }

    /// Key of the questions between nodes of one zone.
    #[must_use]
    pub(crate) fn native_check_key(&self) -> Zeroizing<[u8; 32]> {
        expand(&self.sealing, b"native check", &[])
    }

    /// The WireGuard preshared key of two members; the same at both ends.
    #[must_use]
    pub fn preshared_key(&self, a: &MemberId, b: &MemberId) -> PresharedKey {
        let (low, high) = if a <= b { (a, b) } else { (b, a) };
        let key = expand(
            &self.psk_root,
            b"pair psk",
            &[low.as_bytes(), high.as_bytes()],
        );
        PresharedKey::from_bytes(*key)
    }
}

impl std::fmt::Debug for ClusterKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "ClusterKeys(hidden, cluster {})",
            self.cluster_id.short()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pair_psk_is_symmetric_and_pairwise() {
        let keys = ClusterKeys::derive(&[1; 32]);
        let (a, b, c) = (MemberId([1; 32]), MemberId([2; 32]), MemberId([3; 32]));
        assert_eq!(keys.preshared_key(&a, &b), keys.preshared_key(&b, &a));
        assert_ne!(keys.preshared_key(&a, &b), keys.preshared_key(&a, &c));
    }

    #[test]
    fn another_secret_gives_other_keys() {
        let (one, two) = (ClusterKeys::derive(&[1; 32]), ClusterKeys::derive(&[2; 32]));
        assert_ne!(one.cluster_id(), two.cluster_id());
        let member = MemberId([9; 32]);
        assert_ne!(
            *one.member_sealing_key(&member),
            *two.member_sealing_key(&member)
        );
        assert_ne!(*one.sealing, *one.psk_root);
    }
}
