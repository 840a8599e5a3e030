//! Warnings about filter programs: lists that are valid but hardly meant.

use std::fmt;

use super::FilterEntry;

/// One warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterWarning {
    /// The entry it is about; none if it is about the list.
    pub index: Option<usize>,
    /// What it is.
    pub kind: WarningKind,
    /// In words, with what to do.
    pub message: String,
}

/// Kinds of warnings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WarningKind {
    /// Only exclusions: nothing survives.
    ExcludesAll,
    /// Nothing of one address family survives.
    LosesFamily,
    /// The entry changes nothing, whatever the addresses.
    NoEffect,
}

impl fmt::Display for FilterWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(index) = self.index {
            write!(f, "[{index}]: ")?;
        }
        f.write_str(&self.message)
    }
}

pub(super) fn warnings(entries: &[FilterEntry]) -> Vec<FilterWarning> {
    let _ = entries;
    Vec::new()
}
