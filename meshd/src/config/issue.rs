//! What is wrong or surprising in a configuration file: where, which key, and why. Text only; it
//! decides nothing.

use std::fmt;
use std::path::{Path, PathBuf};

/// Issues kept of one file; a file that is no configuration at all would otherwise fill the screen.
pub const MAX_ISSUES: usize = 50;

/// One thing that is wrong, or one thing that will surprise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// Line in the file, from 1; none if the file has no such line (a key that is missing).
    pub line: Option<u64>,
    /// Path of the key, e.g. `filters.endpoints[2]`; empty for the file as a whole.
    pub key: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// A configuration that cannot be used. Prints one line for each thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file.
    pub path: PathBuf,
    /// Never empty.
    pub issues: Vec<Issue>,
}

impl ConfigError {
    /// An error about the file as a whole.
    #[must_use]
    pub(crate) fn whole(path: &Path, message: String) -> Self {
        Self {
            path: path.to_owned(),
            issues: vec![Issue {
                line: None,
                key: String::new(),
                message,
            }],
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, issue) in self.issues.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}: {issue}", self.path.display())?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
