//! The kernel's network configuration and the TUN device. The only module that knows netlink types;
//! what to configure is decided in the core.

mod address;
mod claim;
mod cleanup;
mod connection;
mod facts;
mod interface;
mod links;
mod monitor;
mod netlink;
mod observe;
mod ownership;
mod reconcile;
mod reconcile_counters;
mod route;
mod rule;
#[cfg(test)]
mod tests;
pub mod tun;

pub use claim::{Claim, ClaimError};
pub use cleanup::CleanupReport;
pub use connection::NetlinkError;
pub use monitor::NetworkChanged;
pub use netlink::Netlink;
pub use ownership::Ownership;
pub use reconcile::ReconcileReport;
pub use reconcile_counters::ReconcileCounters;
