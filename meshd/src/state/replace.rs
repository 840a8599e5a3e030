//! Writing a whole file so that a crash leaves the old one or the new one, never half of one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::StateError;

/// Replaces `path` (mode 0600) with `bytes`: written beside it, synced, renamed, directory synced.
/// Only one caller at a time for one path.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    try_replace(path, bytes).map_err(|source| StateError::Io {
        path: path.to_owned(),
        what: "written",
        source,
    })
}

fn try_replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_added_extension("tmp");
    // A left-over of a crash may have any mode; a new file has ours.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}
