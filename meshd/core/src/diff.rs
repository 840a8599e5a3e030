//! Difference of desired and observed kernel state: the smallest list of changes, in an order in which no
//! packet leaves in clear in between. Applies nothing itself.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ipnet::IpNet;

use crate::network::{NetworkState, Route, RouteKind, Rule};

/// One change to the kernel's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Adds an address to the tunnel interface.
    AddAddress(IpNet),
    /// Removes an address from the tunnel interface.
    RemoveAddress(IpNet),
    /// Sets the MTU of the tunnel interface.
    SetMtu(u32),
    /// Adds a route to our table.
    AddRoute(Route),
    /// Removes a route from our table.
    RemoveRoute(Route),
    /// Adds a rule.
    AddRule(Rule),
    /// Removes a rule.
    RemoveRule(Rule),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddAddress(address) => write!(f, "add address {address}"),
            Self::RemoveAddress(address) => write!(f, "remove address {address}"),
            Self::SetMtu(mtu) => write!(f, "set mtu {mtu}"),
            Self::AddRoute(route) => write!(f, "add route {route}"),
            Self::RemoveRoute(route) => write!(f, "remove route {route}"),
            Self::AddRule(rule) => write!(f, "add rule {rule}"),
            Self::RemoveRule(rule) => write!(f, "remove rule {rule}"),
        }
    }
}

/// The changes that turn `observed` into `desired`; empty if they are equal. A desired MTU of 0 leaves
/// the MTU alone.
///
/// The order closes before it opens:
///
/// 1. addresses and MTU: routes need their source
/// 2. new routes, longest prefix first, so that the first one that covers an address is already the
///    final one; of one prefix `unreachable` first. The kernel takes only one route of a prefix and
///    metric, so a changed one is removed right before its successor, with `unreachable` behind it
/// 3. new rules, in the order they are asked: exceptions before what they are exceptions from
/// 4. old rules, last asked first
/// 5. old routes, `throw` first and `unreachable` last
/// 6. old addresses
#[must_use]
pub fn diff(desired: &NetworkState, observed: &NetworkState) -> Vec<Change> {
    let mut changes: Vec<Change> = desired
        .addresses
        .difference(&observed.addresses)
        .map(|address| Change::AddAddress(*address))
        .collect();
    if desired.mtu != observed.mtu && desired.mtu != 0 {
        changes.push(Change::SetMtu(desired.mtu));
    }
    let key = |route: &Route| (route.prefix, route.metric);
    let old = difference(&observed.routes, &desired.routes);
    let mut old: BTreeMap<_, Route> = old.into_iter().map(|route| (key(&route), route)).collect();
    let mut new: Vec<Route> = Vec::from_iter(difference(&desired.routes, &observed.routes));
    new.sort_by_key(|route| Reverse((route.prefix.prefix_len(), route.metric)));
    for route in new {
        changes.extend(old.remove(&key(&route)).map(Change::RemoveRoute));
        changes.push(Change::AddRoute(route));
    }
    let mut rules: Vec<Rule> = Vec::from_iter(difference(&desired.rules, &observed.rules));
    rules.sort_by_key(|rule| rule.priority);
    changes.extend(rules.into_iter().map(Change::AddRule));
    let mut rules: Vec<Rule> = Vec::from_iter(difference(&observed.rules, &desired.rules));
    rules.sort_by_key(|rule| Reverse(rule.priority));
    changes.extend(rules.into_iter().map(Change::RemoveRule));
    let mut old: Vec<Route> = old.into_values().collect();
    old.sort_by_key(|route| match route.kind {
        RouteKind::Throw => 0,
        RouteKind::Tunnel { .. } => 1,
        RouteKind::Unreachable => 2,
    });
    changes.extend(old.into_iter().map(Change::RemoveRoute));
    let gone = observed.addresses.difference(&desired.addresses);
    changes.extend(gone.map(|address| Change::RemoveAddress(*address)));
    changes
}

fn difference<T: Copy + Ord>(left: &BTreeSet<T>, right: &BTreeSet<T>) -> BTreeSet<T> {
    left.difference(right).copied().collect()
}
