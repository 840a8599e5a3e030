//! Programs that are expected to end by themselves: their exit code, what they said, how long it took.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::error::LabError;
use super::process::Daemon;

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to stdout and stderr.
    pub text: String,
    /// How long it ran.
    pub took: Duration,
}

/// Runs `command` to its end.
///
/// # Errors
/// If it cannot be started, or still runs after `limit`; it is killed then.
pub fn run_to_end(mut command: Command, limit: Duration) -> Result<Ended, LabError> {
    let file = tempfile::NamedTempFile::new().map_err(LabError::io("make a temporary file"))?;

    // Both append, so that neither overwrites the other.
    let append = || {
        std::fs::OpenOptions::new()
            .append(true)
            .open(file.path())
            .map_err(LabError::io("open a temporary file"))
    };
    command
        .stdin(Stdio::null())
        .stdout(append()?)
        .stderr(append()?);
    let start = Instant::now();
    let mut daemon = Daemon::spawn("a program that is to end", command)?;
    let status = daemon.wait(limit)?;
    let took = start.elapsed();
    let text = std::fs::read_to_string(file.path()).map_err(LabError::io("read output"))?;
    Ok(Ended {
        code: status.code(),
        text,
        took,
    })
}
