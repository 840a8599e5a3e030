//! The last good addresses of every name, on disk: a restart while DNS is dead still finds its way.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::{StateError, replace};

/// Names kept. They come from the configuration; more than this is a leftover of old ones.
const MAX_NAMES: usize = 128;
/// Addresses kept of one name.
const MAX_ADDRESSES: usize = 16;

/// Addresses by `name:port`.
#[derive(Debug, Default)]
pub struct AddressCache {
    /// None: in memory only.
    path: Option<PathBuf>,
    names: Mutex<BTreeMap<String, Vec<SocketAddr>>>,
}

impl AddressCache {
    /// A cache that forgets with the process.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// The cache in a file; empty if there is none or it cannot be read: it is only a cache.
    pub(super) fn open(path: PathBuf) -> Self {
        let names = fs::read(&path)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        Self {
            path: Some(path),
            names: Mutex::new(names),
        }
    }

    /// The last good addresses; empty if there never were any.
    #[must_use]
    pub fn get(&self, name: &str) -> Vec<SocketAddr> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(name).cloned().unwrap_or_default()
    }

    /// Remembers what `name` resolves to now. Writes to disk, blocking, if that is news.
    ///
    /// # Errors
    /// [`StateError::Io`]; the addresses are then remembered until the process ends.
    pub fn put(&self, name: &str, addresses: &[SocketAddr]) -> Result<(), StateError> {
        let addresses = &addresses[..addresses.len().min(MAX_ADDRESSES)];
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if addresses.is_empty() || names.get(name).is_some_and(|known| known == addresses) {
            return Ok(());
        }
        while names.len() >= MAX_NAMES && !names.contains_key(name) {
            names.pop_first();
        }
        names.insert(name.to_owned(), addresses.to_vec());
        let Some(path) = &self.path else {
            return Ok(());
        };
        let bytes = serde_json::to_vec(&*names).map_err(|error| StateError::Io {
            path: path.clone(),
            what: "written",
            source: error.into(),
        })?;
        // Under the lock, so that two writers do not share the temporary file.
        replace(path, &bytes)
    }
}
