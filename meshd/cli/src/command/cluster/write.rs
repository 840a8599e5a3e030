//! Writing key files: complete or not at all, readable by the owner only; over an existing
//! file only where it is to be replaced.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::failure::Failure;

/// Makes `dir` and what is missing above it, for the owner only.
pub(super) fn make_directory(dir: &Path) -> Result<(), Failure> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(Failure::file("create", dir))
}

/// Writes a new file of mode 0600. It appears under its name only when it is on the disk; a hard
/// link is what refuses an existing name and cannot be interrupted half-way.
pub(super) fn create_private(path: &Path, contents: &[u8]) -> Result<(), Failure> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let result = write_and_sync(&temporary, contents)
        .map_err(Failure::file("write", &temporary))
        .and_then(|()| {
            fs::hard_link(&temporary, path).map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => Failure::Exists(path.to_owned()),
                _ => Failure::file("create", path)(error),
            })
        });
    let _ = fs::remove_file(&temporary);
    result?;
    sync_directory(path).map_err(Failure::file("write the directory of", path))
}

/// Replaces a file at once: a crash leaves the old or the new one. Mode 0600, the owner of the process.
pub(super) fn replace_private(path: &Path, contents: &[u8]) -> Result<(), Failure> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let result = write_and_sync(&temporary, contents)
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(Failure::file("write", path));
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    result?;
    sync_directory(path).map_err(Failure::file("write the directory of", path))
}

fn write_and_sync(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(contents)?;
    file.sync_all()
}

fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}
