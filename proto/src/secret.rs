//! The two files `meshctl cluster init` writes: `cluster.secret` and `cluster.admin`.
//!
//! Both are versioned text, one `key: value` a line, closed by a checksum over the lines before it,
//! so that a truncated or mangled copy is told apart from a wrong one.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::derive::ClusterKeys;
use crate::ids::{MeshId, to_hex};
use crate::key::{IdentityKey, IdentityPublicKey};
use crate::limits::MAX_SECRETS;

const SECRET_HEADER: &str = "mesh-cluster-secret-v1";
const ADMIN_HEADER: &str = "mesh-cluster-admin-v1";

/// Why a secret or admin file was refused. Messages never contain file contents.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretFileError {
    /// The first line is not the expected header.
    #[error("the first line must be `{0}`: this is another kind of file or a newer version")]
    Header(&'static str),
    /// The checksum line is missing or does not fit.
    #[error("the checksum does not fit: the file was cut off or changed; copy it again")]
    Checksum,
    /// A line is not understood.
    #[error(
        "line {0} is not understood; copy the file again from where `meshctl cluster init` wrote it"
    )]
    Line(usize),
    /// A required line is missing or there are too many.
    #[error("{0}")]
    Content(&'static str),
}

/// The contents of `cluster.secret`: what a machine needs to be a node of the cluster.
#[derive(Clone)]
pub struct ClusterSecret {
    mesh_id: MeshId,
    secrets: Vec<Zeroizing<[u8; 32]>>,
    admin: IdentityPublicKey,
}

impl std::fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClusterSecret(hidden, mesh {})", self.mesh_id.short())
    }
}

impl ClusterSecret {
    /// Makes a secret from random bytes.
    #[must_use]
    pub fn new(mesh_id: MeshId, secret: [u8; 32], admin: IdentityPublicKey) -> Self {
        Self {
            mesh_id,
            secrets: vec![Zeroizing::new(secret)],
            admin,
        }
    }

    /// The mesh id: decides the mesh ULA; stays through secret rotations.
    #[must_use]
    pub const fn mesh_id(&self) -> MeshId {
        self.mesh_id
    }

    /// The key that signs removals and rotations.
    #[must_use]
    pub const fn admin_key(&self) -> IdentityPublicKey {
        self.admin
    }

    /// Keys derived from each secret: the first writes, all read. Never empty.
    #[must_use]
    pub fn keys(&self) -> Vec<ClusterKeys> {
        self.secrets
            .iter()
            .map(|secret| ClusterKeys::derive(secret))
            .collect()
    }

    /// The same cluster with a new first secret; the others are read as before. None if there are as
    /// many as there may be: an earlier rotation is not finished.
    #[must_use]
    pub fn rotated(&self, secret: [u8; 32]) -> Option<Self> {
        let mut next = self.clone();
        next.secrets.insert(0, Zeroizing::new(secret));
        (next.secrets.len() <= MAX_SECRETS).then_some(next)
    }

    /// The same cluster with its first secret alone: whoever has only older ones is left out.
    #[must_use]
    pub fn finished(&self) -> Self {
        let mut next = self.clone();
        next.secrets.truncate(1);
        next
    }

    /// Parses the text of a `cluster.secret` file.
    ///
    /// # Errors
    /// [`SecretFileError`] says which line is wrong.
    pub fn parse(text: &str) -> Result<Self, SecretFileError> {
        let (mut mesh_id, mut secrets, mut admin) = (None, Vec::new(), None);
        for (number, key, value) in checked_lines(text, SECRET_HEADER)? {
            let bad = SecretFileError::Line(number);
            match key {
                "mesh-id" => mesh_id = Some(value.parse().map_err(|_| bad)?),
                "secret" => secrets.push(decode_32(value).ok_or(bad)?),
                "admin-public-key" => admin = Some(value.parse().map_err(|_| bad)?),
                _ => return Err(bad),
            }
        }
        if secrets.is_empty() || secrets.len() > MAX_SECRETS {
            return Err(SecretFileError::Content(
                "there must be one to four `secret:` lines",
            ));
        }
        Ok(Self {
            mesh_id: mesh_id.ok_or(SecretFileError::Content("the `mesh-id:` line is missing"))?,
            secrets,
            admin: admin.ok_or(SecretFileError::Content(
                "the `admin-public-key:` line is missing",
            ))?,
        })
    }

    /// The text of the file. Write it with mode 0600.
    #[must_use]
    pub fn expose_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(format!("{SECRET_HEADER}\nmesh-id: {}\n", self.mesh_id));
        for secret in &self.secrets {
            let encoded = Zeroizing::new(STANDARD.encode(**secret));
            // Writing to a String cannot fail.
            let _ = writeln!(text, "secret: {}", *encoded);
        }
        let _ = writeln!(text, "admin-public-key: {}", self.admin);
        close_with_checksum(&mut text);
        text
    }
}

/// The contents of `cluster.admin`: signs removals and rotations; kept offline.
#[derive(Debug, Clone)]
pub struct AdminKey(pub IdentityKey);

impl AdminKey {
    /// Parses the text of a `cluster.admin` file.
    ///
    /// # Errors
    /// [`SecretFileError`] says which line is wrong.
    pub fn parse(text: &str) -> Result<Self, SecretFileError> {
        let mut seed = None;
        for (number, key, value) in checked_lines(text, ADMIN_HEADER)? {
            match key {
                "admin-private-key" => {
                    seed = Some(decode_32(value).ok_or(SecretFileError::Line(number))?);
                }
                _ => return Err(SecretFileError::Line(number)),
            }
        }
        let seed = seed.ok_or(SecretFileError::Content(
            "the `admin-private-key:` line is missing",
        ))?;
        Ok(Self(IdentityKey::from_seed(&seed)))
    }

    /// The text of the file. Write it with mode 0600 and keep it off the nodes.
    #[must_use]
    pub fn expose_text(&self) -> Zeroizing<String> {
        let encoded = Zeroizing::new(STANDARD.encode(*self.0.expose_seed()));
        let mut text = Zeroizing::new(format!("{ADMIN_HEADER}\nadmin-private-key: {}\n", *encoded));
        close_with_checksum(&mut text);
        text
    }
}

fn checksum(body: &str) -> String {
    to_hex(&Sha256::digest(body.as_bytes())[..8])
}

fn close_with_checksum(text: &mut Zeroizing<String>) {
    let sum = checksum(text);
    let _ = writeln!(text, "checksum: {sum}");
}

/// Lines with their numbers, keys and values, after header and checksum were found right. Blank
/// lines and `#` comments may be added anywhere; they are left out before the checksum is taken.
fn checked_lines<'a>(
    text: &'a str,
    header: &'static str,
) -> Result<Vec<(usize, &'a str, &'a str)>, SecretFileError> {
    let mut lines = text
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    if lines.next().map(|(_, line)| line) != Some(header) {
        return Err(SecretFileError::Header(header));
    }
    let mut body = Zeroizing::new(format!("{header}\n"));
    let mut out = Vec::new();
    for (number, line) in lines {
        let (key, value) = line.split_once(':').ok_or(SecretFileError::Line(number))?;
        if key == "checksum" {
            return if value.trim() == checksum(&body) {
                Ok(out)
            } else {
                Err(SecretFileError::Checksum)
            };
        }
        body.push_str(line);
        body.push('\n');
        out.push((number, key, value.trim()));
    }
    Err(SecretFileError::Checksum)
}

fn decode_32(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let bytes = Zeroizing::new(STANDARD.decode(text).ok()?);
    bytes.as_slice().try_into().ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> ClusterSecret {
        let admin = IdentityKey::from_seed(&[3; 32]).public_key();
        ClusterSecret::new(MeshId([1; 16]), [2; 32], admin)
    }

    #[test]
    fn round_trip() {
        let secret = sample();
        let read = ClusterSecret::parse(&secret.expose_text()).unwrap();
        assert_eq!(read.mesh_id(), secret.mesh_id());
        assert_eq!(read.admin_key(), secret.admin_key());
        assert_eq!(read.keys()[0].cluster_id(), secret.keys()[0].cluster_id());
        let admin = AdminKey(IdentityKey::from_seed(&[3; 32]));
        let read = AdminKey::parse(&admin.expose_text()).unwrap();
        assert_eq!(read.0.public_key(), admin.0.public_key());
    }

    #[test]
    fn a_rotation_writes_with_the_new_and_reads_the_old_until_finished() {
        let old = sample();
        let both = old.rotated([5; 32]).unwrap();
        let both = ClusterSecret::parse(&both.expose_text()).unwrap();
        let ids = |secret: &ClusterSecret| -> Vec<_> {
            secret.keys().iter().map(ClusterKeys::cluster_id).collect()
        };
        let new = ClusterKeys::derive(&[5; 32]).cluster_id();
        assert_eq!(ids(&both), [new, ids(&old)[0]]);
        assert_eq!(ids(&both.finished()), [new]);
        assert_eq!(both.mesh_id(), old.mesh_id());
        let full = (6..8).try_fold(both, |secret, byte| secret.rotated([byte; 32]));
        assert!(full.unwrap().rotated([9; 32]).is_none());
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let text = sample().expose_text().to_string();
        for index in 0..text.len() - 1 {
            let mut bytes = text.clone().into_bytes();
            bytes[index] ^= 1;
            let Ok(changed) = String::from_utf8(bytes) else {
                continue;
            };
            assert!(ClusterSecret::parse(&changed).is_err(), "byte {index}");
        }
        assert!(ClusterSecret::parse(&text[..text.len() - 20]).is_err());
    }

    #[test]
    fn the_wrong_kind_of_file_is_named() {
        let admin = AdminKey(IdentityKey::from_seed(&[3; 32]));
        assert_eq!(
            ClusterSecret::parse(&admin.expose_text()).unwrap_err(),
            SecretFileError::Header(SECRET_HEADER)
        );
    }
}
