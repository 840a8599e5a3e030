//! `meshctl config`: check a configuration, and make one from a Talos machine configuration.

mod talos;

use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use super::Session;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;

/// A machine configuration with all its certificates is below 100 KiB.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Has `meshd --check` look at a configuration: only the daemon knows what it understands.
pub(super) fn check(file: &Path) -> Result<Exit, Failure> {
    let beside = std::env::current_exe()
        .ok()
        .map(|path| path.with_file_name("meshd"))
        .filter(|path| path.exists());
    let meshd = beside.unwrap_or_else(|| "meshd".into());
    let status = Command::new(&meshd)
        .args(["--check", "--config"])
        .arg(file)
        .status()
        .map_err(Failure::file("run", &meshd))?;
    Ok(match status.code() {
        Some(0) => Exit::Ok,
        _ => Exit::Failed,
    })
}

/// Writes a meshd.yaml to stdout, and to stderr what has no counterpart.
pub(super) fn import(session: &Session, file: &Path) -> Result<(), Failure> {
    let mut text = String::new();
    let reader: Box<dyn std::io::Read> = if file == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file).map_err(Failure::file("read", file))?)
    };
    reader
        .take(MAX_FILE_BYTES)
        .read_to_string(&mut text)
        .map_err(Failure::file("read", file))?;
    let imported = talos::import(&text)
        .map_err(|error| Failure::Invalid(format!("{}: {error}", file.display())))?;
    output::data(&imported.yaml)?;
    for note in &imported.notes {
        session.remark(&format!("note: {note}"));
    }
    Ok(())
}
