//! Why the daemon does not start, and the exit code that says whether trying again can help.

use crate::config::{ConfigError, SecretError};
use crate::control::ControlError;
use crate::engine::EngineError;
use crate::linux::{ClaimError, NetlinkError};
use crate::state::StateError;

/// Why the daemon did not start. One message, with what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The cluster secret.
    #[error("cluster.secretFile: {0}")]
    Secret(SecretError),
    /// The certificates of `discovery.caFile`.
    #[error("discovery.caFile: {0}")]
    Ca(SecretError),
    /// A start needs a capability this process does not have.
    #[error(
        "meshd needs the capability CAP_NET_ADMIN to make its interface and routes: run it as root or \
         with `AmbientCapabilities=CAP_NET_ADMIN`"
    )]
    Privileges,
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// Another meshd has the numbers of this one.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// WireGuard: TUN, port.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Netlink.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The log filter is wrong.
    #[error("{0}")]
    Log(String),
    /// The kernel gives no random bytes.
    #[error("the kernel gives no random bytes: {0}")]
    Random(String),
    /// `metrics.listen` cannot be bound.
    #[error("metrics.listen: cannot listen on {address}: {source}; choose another address")]
    Metrics {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// `remote.tokenFile` cannot be used.
    #[error("remote.tokenFile: {0}")]
    Token(SecretError),
    /// `remote.listen` cannot be bound.
    #[error("remote.listen: cannot listen on {address}: {source}; choose another port")]
    Remote {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Signal handlers cannot be installed.
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
    /// The engine's thread died while the daemon ran.
    #[error("the WireGuard engine failed; see the log, and report it as a bug")]
    EngineFailed,
    /// The network task ended while the daemon ran.
    #[error("nobody reconciles the network any more; see the log, and report it as a bug")]
    NetworkFailed,
    /// `meshd cleanup` would take the routes of a running daemon away.
    #[error(
        "meshd is running: stop it (`systemctl stop meshd`), and it removes everything itself; if it \
         does not, run this again"
    )]
    Running(#[source] ClaimError),
    /// `meshd cleanup` could not remove everything.
    #[error("not everything could be removed: {0}")]
    Cleanup(String),
}

impl StartError {
    /// 2 where only a person can help (configuration, secret, privileges, TUN), else 1.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Secret(_) | Self::Ca(_) | Self::Token(_) => 2,
            Self::Privileges | Self::Log(_) => 2,
            Self::State(StateError::Damaged { .. } | StateError::Shared { .. }) => 2,
            Self::Control(ControlError::Directory { .. } | ControlError::NotASocket { .. }) => 2,
            Self::Engine(error) => error.exit_code(),
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn what_only_a_person_can_mend_exits_with_2() {
        let damaged = StateError::Damaged {
            path: PathBuf::from("/s/identity.key"),
            message: "a line is not understood",
        };
        let in_use = StateError::InUse {
            path: PathBuf::from("/s"),
            owner: String::new(),
        };
        let file = ControlError::NotASocket {
            path: PathBuf::from("/r/meshd.sock"),
        };
        assert_eq!(StartError::from(damaged).exit_code(), 2);
        assert_eq!(StartError::from(file).exit_code(), 2);
        assert_eq!(StartError::from(in_use).exit_code(), 1);
    }
}
