//! What can go wrong in the lab itself, as opposed to in what it tests.

use std::io;
use std::path::Path;

/// Failure of the lab.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A system call or file operation.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A command ended with an error.
    #[error("`{command}` failed ({status}): {stderr}")]
    Command {
        /// The command line.
        command: String,
        /// Exit status in words.
        status: String,
        /// What it said.
        stderr: String,
    },
    /// A condition did not come true in time.
    #[error("timed out after {seconds} s waiting for {what}; last seen: {last}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// Bound, seconds.
        seconds: u64,
        /// Last observation.
        last: String,
    },
    /// The lab cannot run here, or was asked for something impossible.
    #[error("{0}")]
    Unusable(String),
}

impl LabError {
    /// Turns an I/O error into one that says what was tried.
    pub fn io<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |source| Self::Io {
            what,
            source: source.into(),
        }
    }

    /// [`Self::io`] for a file.
    pub fn file<E: Into<io::Error>>(verb: &str, path: &Path) -> impl FnOnce(E) -> Self {
        Self::io(format!("{verb} {}", path.display()))
    }
}
