//! The server under load: the real binary with a store of its own, and what it uses.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::lab::process::{Daemon, die_with_parent, logged};
use crate::lab::{LabError, wait};

const START_LIMIT: Duration = Duration::from_secs(20);

/// A running server; ends when dropped.
#[derive(Debug)]
pub struct Subject {
    daemon: Daemon,
    address: SocketAddr,
    directory: TempDir,
}

impl Subject {
    /// Starts it on a free port of the loopback interface.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(bin_dir: &Path) -> Result<Self, LabError> {
        let directory = tempfile::tempdir().map_err(LabError::io("make a directory"))?;
        let log = directory.path().join("log");
        let mut command = Command::new(bin_dir.join("discovery-server"));
        command.args(["--listen", "127.0.0.1:0", "--stun-listen", "off"]);
        command.arg("--data-dir").arg(directory.path().join("data"));
        die_with_parent(&mut command);
        let daemon = Daemon::spawn("the discovery server", logged(command, &log)?)?;
        let (address, _) = wait::until("the discovery server", START_LIMIT, || {
            let text = std::fs::read_to_string(&log).map_err(|error| error.to_string())?;
            let (_, rest) = text.split_once("listen=").ok_or_else(|| text.clone())?;
            let address = rest.split_whitespace().next().unwrap_or_default();
            address.parse().map_err(|_| text.clone())
        })?;
        Ok(Self {
            daemon,
            address,
            directory,
        })
    }

    /// Where it serves.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}
