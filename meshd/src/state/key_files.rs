//! Files of the WireGuard key while one replaces another: the next key is on disk before anybody hears of it,
//! and takes the place of the present one when it is in use. A start in between finishes what was begun.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mesh_proto::WgPrivateKey;

use super::{StateError, keys};

const PRESENT_FILE: &str = "wireguard.key";
const NEXT_FILE: &str = "wireguard.key.next";
const KIND: &str = "WireGuard";

/// The files of one state directory. Blocking, as everything here; the copies take turns.
#[derive(Debug, Clone)]
pub struct KeyFiles {
    directory: PathBuf,
    turn: Arc<Mutex<()>>,
}

impl KeyFiles {
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            turn: Arc::default(),
        }
    }

    /// The key in use; made at the first call ever.
    ///
    /// # Errors
    /// [`StateError::Damaged`], [`StateError::Io`].
    pub(super) fn present(&self) -> Result<WgPrivateKey, StateError> {
        let bytes = keys::read_or_make(&self.directory.join(PRESENT_FILE), KIND, public)?;
        Ok(WgPrivateKey::from_bytes(*bytes))
    }

    /// The key that a rotation had made when it was interrupted.
    ///
    /// # Errors
    /// [`StateError::Damaged`], [`StateError::Io`].
    pub fn next(&self) -> Result<Option<WgPrivateKey>, StateError> {
        let bytes = keys::read(&self.next_path(), public)?;
        Ok(bytes.map(|bytes| WgPrivateKey::from_bytes(*bytes)))
    }

    /// Makes a key in place of any other that was to be the next. Durable when it returns.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn make_next(&self) -> Result<WgPrivateKey, StateError> {
        let _turn = self.turn();
        self.remove_next()?;
        let bytes = keys::read_or_make(&self.next_path(), KIND, public)?;
        Ok(WgPrivateKey::from_bytes(*bytes))
    }

    /// `key` is in use: it takes the place of the present one, which is gone then.
    ///
    /// # Errors
    /// [`StateError::Io`]; the next start tries again.
    pub fn promote(&self, key: &WgPrivateKey) -> Result<(), StateError> {
        let _turn = self.turn();
        keys::write(
            &self.directory.join(PRESENT_FILE),
            KIND,
            key.expose(),
            public,
        )?;
        match self.next()? {
            Some(next) if next == *key => self.remove_next(),
            // Another rotation has begun.
            _ => Ok(()),
        }
    }

    /// Nothing came of the next key.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn discard_next(&self) -> Result<(), StateError> {
        let _turn = self.turn();
        self.remove_next()
    }

    fn remove_next(&self) -> Result<(), StateError> {
        let path = self.next_path();
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(StateError::Io {
                path,
                what: "removed",
                source,
            }),
            _ => Ok(()),
        }
    }

    fn next_path(&self) -> PathBuf {
        self.directory.join(NEXT_FILE)
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn public(bytes: &[u8; 32]) -> String {
    WgPrivateKey::from_bytes(*bytes).public_key().to_string()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_next_key_takes_the_place_of_the_present_one() {
        let dir = tempfile::tempdir().unwrap();
        let files = KeyFiles::new(dir.path());
        let present = files.present().unwrap();
        assert_eq!(files.next().unwrap(), None);
        let next = files.make_next().unwrap();
        assert_ne!(next, present);
        assert_eq!(files.present().unwrap(), present);
        assert_eq!(files.next().unwrap(), Some(next.clone()));
        let mode = fs::metadata(files.next_path()).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        files.promote(&next).unwrap();
        assert_eq!(files.present().unwrap(), next);
        assert_eq!(files.next().unwrap(), None);
    }

    #[test]
    fn a_later_rotation_is_not_undone_by_an_earlier_one() {
        let dir = tempfile::tempdir().unwrap();
        let files = KeyFiles::new(dir.path());
        let first = files.make_next().unwrap();
        let second = files.make_next().unwrap();
        files.promote(&first).unwrap();
        assert_eq!(files.present().unwrap(), first);
        assert_eq!(files.next().unwrap(), Some(second));
        files.discard_next().unwrap();
        files.discard_next().unwrap();
        assert_eq!(files.next().unwrap(), None);
    }
}
