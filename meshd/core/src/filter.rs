//! Endpoint filters: ordered include and exclude programs with KubeSpan's semantics.
//!
//! Start from the empty set and walk the entries: `CIDR` adds what is inside and not yet there,
//! `!CIDR` removes. The last entry that matches an address decides, and the order of the result is the
//! order of preference. Only addresses count, never ports.

mod entry;
mod trace;
mod warning;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use ipnet::IpNet;

pub use entry::FilterEntry;
pub use trace::{FilterTrace, TracedEntry, TracedItem};
pub use warning::{FilterWarning, WarningKind};

/// Entries one program may have.
pub const MAX_FILTER_ENTRIES: usize = 256;

/// A validated filter program; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterProgram {
    entries: Vec<FilterEntry>,
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
    /// Parses the entries of a configuration list: a CIDR (host bits are masked) or a bare IP address,
    /// each with at most one `!` in front.
    ///
    /// # Errors
    /// [`FilterError`] names the entry. An empty list is one too: it would keep nothing, which nobody
    /// means. So is a list of more than [`MAX_FILTER_ENTRIES`].
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<Self, FilterError> {
        let error = |index, message: String| FilterError { index, message };
        if entries.is_empty() {
            let message = "the list is empty and would keep nothing; leave the key out to keep \
                           everything, or write what to keep, e.g. [\"0.0.0.0/0\", \"::/0\"]";
            return Err(error(0, message.to_owned()));
        }
        if entries.len() > MAX_FILTER_ENTRIES {
            let message = format!("more than {MAX_FILTER_ENTRIES} entries; join some of them");
            return Err(error(MAX_FILTER_ENTRIES, message));
        }
        let entries = entries
            .iter()
            .enumerate()
            .map(|(index, text)| {
                FilterEntry::parse(text.as_ref()).map_err(|message| error(index, message))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { entries })
    }

    /// The entries in order.
    #[must_use]
    pub fn entries(&self) -> &[FilterEntry] {
        &self.entries
    }

    /// Runs the program over `items`: what survives, in the program's order of preference. Items with
    /// equal addresses are kept or dropped together.
    #[must_use]
    pub fn run<T: Clone>(&self, items: &[T], ip: impl Fn(&T) -> IpAddr) -> Vec<T> {
        let mut kept: Vec<(usize, &T)> = items
            .iter()
            .filter_map(|item| Some((self.position(ip(item))?, item)))
            .collect();
        kept.sort_by_key(|(position, _)| *position);
        kept.into_iter().map(|(_, item)| item.clone()).collect()
    }

    /// True if the program keeps this address.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        self.position(address).is_some()
    }

    /// The index of the entry that added this address last, which is its class of preference; none if
    /// the program does not keep it.
    #[must_use]
    pub fn position(&self, address: IpAddr) -> Option<usize> {
        let address = address.to_canonical();
        position_among(self.entries.iter().enumerate(), address)
    }

    /// The last entry that contains this address, with its index: it decides. None if none does, and
    /// then the address is not kept.
    #[must_use]
    pub fn deciding_entry(&self, address: IpAddr) -> Option<(usize, &FilterEntry)> {
        let mut entries = self.entries.iter().enumerate().rev();
        entries.find(|(_, entry)| entry.contains(address))
    }

    /// True if the program keeps all of `prefix`: the last entry that contains it includes it, and no
    /// later exclusion takes a part out of it. Used for `filters.peerNetworks`.
    #[must_use]
    pub fn allows_prefix(&self, prefix: IpNet) -> bool {
        let prefix = entry::canonical(prefix);
        let mut allowed = false;
        for entry in &self.entries {
            if entry.range().contains(&prefix) {
                allowed = !entry.negated;
            } else if entry.negated && prefix.contains(&entry.range()) {
                allowed = false;
            }
        }
        allowed
    }

    /// What each entry does to each item, for `meshctl filter test`.
    #[must_use]
    pub fn trace<T: Clone>(&self, items: &[T], ip: impl Fn(&T) -> IpAddr) -> FilterTrace<T> {
        trace::trace(self, items, ip)
    }

    /// What is allowed but will surprise.
    #[must_use]
    pub fn warnings(&self) -> Vec<FilterWarning> {
        warning::warnings(&self.entries)
    }
}

/// Index of the entry that put `address` where it is in the result. `address` is canonical.
fn position_among<'a>(
    entries: impl Iterator<Item = (usize, &'a FilterEntry)>,
    address: IpAddr,
) -> Option<usize> {
    entries
        .filter(|(_, entry)| entry.range().contains(&address))
        .fold(None, |position, (index, entry)| {
            (!entry.negated).then(|| position.unwrap_or(index))
        })
}
