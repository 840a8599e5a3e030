//! Claims on a routing table and rule priorities: two daemons that share them would undo each other's
//! routes without an end. Guards against a second meshd only; other programs are `reconcile`'s business.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

use super::ownership::Ownership;

/// Why the numbers cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// Another daemon in this network namespace has the table.
    #[error(
        "another meshd uses routing table {0}: stop it, or give this one a routing.table of its own"
    )]
    Table(u32),
    /// Another daemon in this network namespace has one of the four priorities.
    #[error(
        "another meshd uses the rule priority {0}: stop it, or give this one a routing.rulePriority of \
         its own, four numbers apart"
    )]
    Priority(u32),
}

/// Held as long as the daemon runs; the kernel gives it up when the process dies, however it dies.
#[derive(Debug)]
pub struct Claim {
    _sockets: Vec<UnixListener>,
}

impl Ownership {
    /// Claims table and priorities in the network namespace of the calling thread: abstract Unix sockets
    /// belong to one.
    ///
    /// # Errors
    ///
    /// [`ClaimError`] names what another daemon has. A kernel that has no such sockets refuses nothing.
    pub fn claim(&self) -> Result<Claim, ClaimError> {
        let mut sockets = Vec::new();
        let table = take(&format!("meshd.table.{}", self.table));
        sockets.extend(table.map_err(|Taken| ClaimError::Table(self.table))?);
        for priority in self.priorities() {
            let taken = take(&format!("meshd.priority.{priority}"));
            sockets.extend(taken.map_err(|Taken| ClaimError::Priority(priority))?);
        }
        Ok(Claim { _sockets: sockets })
    }
}

/// Somebody else has the name.
struct Taken;

fn take(name: &str) -> Result<Option<UnixListener>, Taken> {
    let bound = SocketAddr::from_abstract_name(name).and_then(|at| UnixListener::bind_addr(&at));
    match bound {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(Taken),
        Err(error) => {
            tracing::debug!(%error, name, "cannot be claimed");
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ownership(table: u32, rule_priority: u32) -> Ownership {
        Ownership {
            interface: "mesh0".to_owned(),
            table,
            rule_priority,
            protocol: 84,
            mark: 0x1000,
            mask: 0x1000,
        }
    }

    #[test]
    fn table_and_priorities_belong_to_one_daemon() {
        // Numbers that no daemon on a developer's machine has.
        let first = ownership(4_100_001, 4_100_000);
        let held = first.claim().unwrap();
        let table = ownership(4_100_001, 4_200_000).claim();
        assert!(matches!(table, Err(ClaimError::Table(4_100_001))));
        let overlapping = ownership(4_100_002, 4_100_003).claim();
        assert!(matches!(overlapping, Err(ClaimError::Priority(4_100_003))));
        assert!(ownership(4_100_002, 4_100_004).claim().is_ok());
        drop(held);
        assert!(first.claim().is_ok());
    }
}
