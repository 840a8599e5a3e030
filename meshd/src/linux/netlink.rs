//! The handle to the kernel's network configuration. What it does is in the files of the operations.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::connection::{Connection, NetlinkError};
use super::ownership::Ownership;
use super::reconcile_counters::ReconcileCounters;

/// Reads and changes the network configuration of the network namespace it was opened in. Changes
/// only what its [`Ownership`] names.
#[derive(Debug)]
pub struct Netlink {
    pub(super) connection: Connection,
    pub(super) ownership: Ownership,
    /// One change of ours at a time: each starts from what it observed.
    pub(super) changing: Mutex<()>,
    pub(super) reconciles: Arc<ReconcileCounters>,
}

impl Netlink {
    /// Opens a connection in the network namespace of the calling thread and runs it on the current
    /// tokio runtime. Reading needs no privileges, changing needs `CAP_NET_ADMIN`.
    ///
    /// # Errors
    ///
    /// [`NetlinkError::Open`] if there is no netlink (a seccomp filter, no file descriptors left).
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    #[expect(
        clippy::unused_async,
        reason = "must run inside a runtime, which async callers have"
    )]
    pub async fn open(ownership: Ownership) -> Result<Self, NetlinkError> {
        Ok(Self {
            connection: Connection::open().map_err(NetlinkError::Open)?,
            ownership,
            changing: Mutex::new(()),
            reconciles: Arc::default(),
        })
    }

    /// What this handle considers its own.
    #[must_use]
    pub const fn ownership(&self) -> &Ownership {
        &self.ownership
    }

    /// What reconciling comes to, while this handle lives and after.
    #[must_use]
    pub fn reconciles(&self) -> Arc<ReconcileCounters> {
        Arc::clone(&self.reconciles)
    }
}
