//! Warnings about filter programs: lists that are valid but hardly meant.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{FilterEntry, position_among};

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

/// Exact, not by pattern: the address space is cut at the bounds of all entries, and one address stands
/// for each piece.
pub(super) fn warnings(entries: &[FilterEntry]) -> Vec<FilterWarning> {
    let pieces = pieces(entries);
    let keeps = |v4: bool| {
        let mut family = pieces.iter().filter(|piece| piece.is_ipv4() == v4);
        family.any(|piece| position_among(entries.iter().enumerate(), *piece).is_some())
    };
    let about_list = |kind, message: &str| FilterWarning {
        index: None,
        kind,
        message: message.to_owned(),
    };
    let mut warnings = match (keeps(true), keeps(false)) {
        (false, false) => return vec![about_list(WarningKind::ExcludesAll, EXCLUDES_ALL)],
        (true, false) => vec![about_list(WarningKind::LosesFamily, LOSES_V6)],
        (false, true) => vec![about_list(WarningKind::LosesFamily, LOSES_V4)],
        (true, true) => Vec::new(),
    };
    warnings.extend(without_effect(entries, &pieces));
    warnings
}

const EXCLUDES_ALL: &str = "the list keeps no address at all; exclusions only take away from what \
                            entries before them include, so begin with \"0.0.0.0/0\", \"::/0\"";
const LOSES_V6: &str = "the list keeps no IPv6 address; add \"::/0\" if that is not meant";
const LOSES_V4: &str = "the list keeps no IPv4 address; add \"0.0.0.0/0\" if that is not meant";

/// Entries that could be left out. Of two that could each be left out, but not both, the later one.
fn without_effect(entries: &[FilterEntry], pieces: &[IpAddr]) -> Vec<FilterWarning> {
    let mut needed = vec![true; entries.len()];
    let mut warnings = Vec::new();
    for (index, entry) in entries.iter().enumerate().rev() {
        let inside: Vec<IpAddr> = pieces
            .iter()
            .copied()
            .filter(|piece| entry.range().contains(piece))
            .collect();
        let outcome = |without: Option<usize>, piece: IpAddr| {
            let rest = entries.iter().enumerate();
            position_among(
                rest.filter(|(i, _)| needed[*i] && Some(*i) != without),
                piece,
            )
        };
        if inside
            .iter()
            .all(|piece| outcome(None, *piece) == outcome(Some(index), *piece))
        {
            warnings.push(FilterWarning {
                index: Some(index),
                kind: WarningKind::NoEffect,
                message: no_effect_message(entries, index, &inside),
            });
            needed[index] = false;
        }
    }
    warnings.reverse();
    warnings
}

fn no_effect_message(entries: &[FilterEntry], index: usize, inside: &[IpAddr]) -> String {
    let entry = &entries[index];
    let before = entries.iter().enumerate().take(index);
    let kept_before = |piece: &IpAddr| position_among(before.clone(), *piece).is_some();
    let why = if entry.negated && !inside.iter().any(kept_before) {
        "no entry before it includes these addresses; put it after the one that does"
    } else if !entry.negated && inside.iter().all(kept_before) {
        "entries before it already include these addresses"
    } else {
        "later entries decide about all of these addresses"
    };
    format!("\"{entry}\" changes nothing: {why}")
}

/// The first address of each piece.
fn pieces(entries: &[FilterEntry]) -> Vec<IpAddr> {
    let mut starts: BTreeSet<IpAddr> = BTreeSet::from([
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    ]);
    for entry in entries {
        let range = entry.range();
        starts.insert(range.network());
        starts.extend(match range.broadcast() {
            IpAddr::V4(last) => last
                .to_bits()
                .checked_add(1)
                .map(|next| IpAddr::V4(Ipv4Addr::from_bits(next))),
            IpAddr::V6(last) => last
                .to_bits()
                .checked_add(1)
                .map(|next| IpAddr::V6(Ipv6Addr::from_bits(next))),
        });
    }
    starts.into_iter().collect()
}
