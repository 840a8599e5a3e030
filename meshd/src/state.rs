//! The state directory: keys made once, the disk cache, the lock that keeps a second meshd out.
//!
//! Everything is written beside its place and renamed, so a crash leaves the old file or the new one.
//! Damaged keys are refused, never replaced; a damaged cache is put aside.

mod address_cache;
mod device;
mod key_files;
mod keys;
mod replace;

#[cfg(test)]
mod tests;

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use mesh_proto::{IdentityKey, StateId, WgPrivateKey};
use meshd_core::persistent::PersistentState;

pub use self::address_cache::AddressCache;
pub use self::device::DeviceRecord;
pub use self::key_files::KeyFiles;
pub(crate) use self::replace::replace;

const LOCK_FILE: &str = "meshd.lock";
const IDENTITY_FILE: &str = "identity.key";
const STATE_FILE: &str = "state.json";
const DAMAGED_STATE_FILE: &str = "state.json.bad";
const ADDRESS_FILE: &str = "addresses.json";

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The file system says no.
    #[error("{path} cannot be {what}: {source}; check stateDir, its owner and the free space")]
    Io {
        /// File or directory.
        path: PathBuf,
        /// `read`, `written`, …
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Another meshd runs with this directory.
    #[error(
        "{path} is in use by another meshd{owner}: stop it, or give this one a stateDir of its own"
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// ` (process N)`, if known.
        owner: String,
    },
    /// Others can write into a directory that is not only ours.
    #[error("{path} is writable by others: give stateDir a directory of its own")]
    Shared {
        /// The directory.
        path: PathBuf,
    },
    /// A key file is not what was written.
    #[error(
        "{path} is damaged: {message}; restore it from a backup, or remove it to have a new one made (with a new \
         identity.key this node is a new member)"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: &'static str,
    },
}

/// The disk cache as read at start.
#[derive(Debug)]
pub struct LoadedState {
    /// What was kept; empty if there was nothing usable. Without a last sequence the next one comes
    /// from the clock.
    pub state: PersistentState,
    /// What went wrong, if something did; the daemon can go on.
    pub warning: Option<String>,
}

/// A locked state directory. Dropping it unlocks.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// Held for its lock.
    _lock: File,
    /// Two writers of one file would share its temporary name.
    writing: Mutex<()>,
}

impl StateDir {
    /// Makes the directory if need be (0700), and locks it. Blocking, as everything here.
    ///
    /// # Errors
    /// [`StateError::InUse`] if another process holds it, [`StateError::Io`].
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let io_error = |what| {
            move |source| StateError::Io {
                path: path.to_owned(),
                what,
                source,
            }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(io_error("made"))?;
        restrict(path)?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join(LOCK_FILE))
            .map_err(io_error("locked"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StateError::InUse {
                    path: path.to_owned(),
                    owner: owner_of(&mut lock),
                });
            }
            Err(TryLockError::Error(source)) => return Err(io_error("locked")(source)),
        }
        // Only for the message of the next one; a lock without a number is as good.
        let _ = lock
            .set_len(0)
            .and_then(|()| write!(lock, "{}", std::process::id()));
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
            writing: Mutex::new(()),
        })
    }

    /// The identity key; made at the first call ever.
    ///
    /// # Errors
    /// [`StateError::Damaged`] rather than a new identity, [`StateError::Io`].
    pub fn identity(&self) -> Result<IdentityKey, StateError> {
        let bytes = keys::read_or_make(&self.path.join(IDENTITY_FILE), "identity", |bytes| {
            IdentityKey::from_seed(bytes).public_key().to_string()
        })?;
        Ok(IdentityKey::from_seed(&bytes))
    }

    /// The WireGuard key; made at the first call ever.
    ///
    /// # Errors
    /// As [`Self::identity`].
    pub fn wireguard_key(&self) -> Result<WgPrivateKey, StateError> {
        self.key_files().present()
    }

    /// The files of the WireGuard key, for replacing it.
    #[must_use]
    pub fn key_files(&self) -> KeyFiles {
        KeyFiles::new(&self.path)
    }

    /// Reads the disk cache. One that cannot be parsed is kept as `state.json.bad`.
    ///
    /// # Errors
    /// [`StateError::Io`] if there is a file and it cannot be read or put aside.
    pub fn load(&self) -> Result<LoadedState, StateError> {
        let path = self.path.join(STATE_FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(LoadedState {
                    state: PersistentState::default(),
                    warning: None,
                });
            }
            Err(source) => {
                return Err(StateError::Io {
                    path,
                    what: "read",
                    source,
                });
            }
        };
        let error = match serde_json::from_slice(&bytes) {
            Ok(state) => {
                return Ok(LoadedState {
                    state,
                    warning: None,
                });
            }
            Err(error) => error,
        };
        let aside = self.path.join(DAMAGED_STATE_FILE);
        fs::rename(&path, &aside).map_err(|source| StateError::Io {
            path: path.clone(),
            what: "put aside",
            source,
        })?;
        Ok(LoadedState {
            state: PersistentState::default(),
            warning: Some(format!(
                "{} is damaged ({error}) and was kept as {}; members are learned again from \
                 discovery",
                path.display(),
                aside.display()
            )),
        })
    }

    /// Writes the disk cache. Durable when it returns.
    ///
    /// # Errors
    /// [`StateError::Io`]; the file then is what it was before.
    pub fn save(&self, state: &PersistentState) -> Result<(), StateError> {
        let path = self.path.join(STATE_FILE);
        let bytes = serde_json::to_vec(state).map_err(|error| StateError::Io {
            path: path.clone(),
            what: "written",
            source: error.into(),
        })?;
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        replace(&path, &bytes)
    }

    /// The cache of resolved names; one that cannot be read is empty.
    #[must_use]
    pub fn address_cache(&self) -> AddressCache {
        AddressCache::open(self.path.join(ADDRESS_FILE))
    }
}

/// A new state id: for a process whose sessions live in its own memory.
///
/// # Errors
/// [`StateError::Io`] if the kernel has no random bytes.
pub fn fresh_state_id() -> Result<StateId, StateError> {
    let mut bytes = [0; 16];
    keys::random(&mut bytes)?;
    Ok(StateId(bytes))
}

/// Keeps others out of a directory that is ours or empty. Any other may be a mistake, like `/tmp`, whose
/// mode must stay; it is refused if others could replace our files in it.
fn restrict(path: &Path) -> Result<(), StateError> {
    let restrict = || {
        let mode = fs::metadata(path)?.permissions().mode();
        let empty = fs::read_dir(path)?.next().is_none();
        if mode & 0o077 != 0 && (empty || path.join(LOCK_FILE).exists()) {
            fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
            return Ok(0o700);
        }
        Ok(mode)
    };
    let mode: u32 = restrict().map_err(|source| StateError::Io {
        path: path.to_owned(),
        what: "restricted to its owner",
        source,
    })?;
    if mode & 0o022 == 0 {
        return Ok(());
    }
    Err(StateError::Shared {
        path: path.to_owned(),
    })
}

fn owner_of(lock: &mut File) -> String {
    let mut text = String::new();
    match lock.take(20).read_to_string(&mut text) {
        Ok(_) if text.parse::<u32>().is_ok() => format!(" (process {text})"),
        _ => String::new(),
    }
}
