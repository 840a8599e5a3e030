//! Trace of a filter program: what each entry does to each item.

use std::net::IpAddr;

use super::{FilterEntry, FilterProgram};

/// What a program does to a list of items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterTrace<T> {
    /// One for each entry, in order.
    pub entries: Vec<TracedEntry<T>>,
    /// One for each item, in the order given.
    pub items: Vec<TracedItem<T>>,
    /// What survives, in order of preference.
    pub result: Vec<T>,
}

/// What one entry does. An item that it contains but does not change (already there, or already
/// absent) is in `unchanged`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracedEntry<T> {
    /// The entry.
    pub entry: FilterEntry,
    /// Items it adds.
    pub added: Vec<T>,
    /// Items it removes.
    pub removed: Vec<T>,
    /// Items it contains and leaves as they are.
    pub unchanged: Vec<T>,
}

/// What becomes of one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracedItem<T> {
    /// The item.
    pub item: T,
    /// True if it survives.
    pub kept: bool,
    /// Index of the entry that added or removed it last; none if no entry changed it.
    pub decided_by: Option<usize>,
}

pub(super) fn trace<T: Clone>(
    program: &FilterProgram,
    items: &[T],
    ip: impl Fn(&T) -> IpAddr,
) -> FilterTrace<T> {
    let mut traced: Vec<TracedItem<T>> = items
        .iter()
        .map(|item| TracedItem {
            item: item.clone(),
            kept: false,
            decided_by: None,
        })
        .collect();
    let mut entries = Vec::new();
    for (index, entry) in program.entries().iter().enumerate() {
        let mut step = TracedEntry {
            entry: entry.clone(),
            added: Vec::new(),
            removed: Vec::new(),
            unchanged: Vec::new(),
        };
        for item in traced
            .iter_mut()
            .filter(|item| entry.contains(ip(&item.item)))
        {
            let list = match (item.kept, entry.negated) {
                (false, false) => &mut step.added,
                (true, true) => &mut step.removed,
                _ => &mut step.unchanged,
            };
            list.push(item.item.clone());
            if item.kept == entry.negated {
                item.kept = !entry.negated;
                item.decided_by = Some(index);
            }
        }
        entries.push(step);
    }
    FilterTrace {
        entries,
        items: traced,
        result: program.run(items, ip),
    }
}
