//! Everything that ends a command early: what was tried, what went wrong, what to do.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use mesh_proto::secret::SecretFileError;

use crate::exit::Exit;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    Unreachable(String),
    /// The daemon answered with an error.
    #[error("{0}")]
    Refused(String),
    #[error(
        "meshd answered something this meshctl does not understand ({0}): \
         are both of the same version? compare `meshctl version` and `meshd --version`"
    )]
    Protocol(String),
    #[error("{0}")]
    Usage(String),
    #[error("cannot {action} {path}: {source}")]
    File {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{0} exists already; meshctl does not overwrite keys: choose another --dir")]
    Exists(PathBuf),
    #[error("{path}: {source}")]
    Secret {
        path: PathBuf,
        source: SecretFileError,
    },
    /// A file or list that cannot be used.
    #[error("{0}")]
    Invalid(String),
}

impl Failure {
    /// The exit code that belongs to it.
    pub(crate) const fn exit(&self) -> Exit {
        match self {
            Self::Unreachable(_) => Exit::Unreachable,
            Self::Usage(_) => Exit::Usage,
            _ => Exit::Failed,
        }
    }

    /// The daemon cannot be reached on `socket`; the text depends on why.
    pub(crate) fn connect(socket: &Path, error: &io::Error) -> Self {
        let socket = socket.display();
        Self::Unreachable(match error.kind() {
            io::ErrorKind::PermissionDenied => format!(
                "no permission to use {socket}: run meshctl as root or as a member of the socket's group"
            ),
            io::ErrorKind::NotFound => format!(
                "there is no control socket at {socket}: is meshd running? `systemctl status meshd` \
                 shows it; if it uses another `controlSocket`, name it with --socket or MESHCTL_SOCKET"
            ),
            io::ErrorKind::ConnectionRefused => format!(
                "nobody answers on {socket}: meshd has stopped without cleaning up; \
                 `systemctl status meshd` and `journalctl -u meshd` say why"
            ),
            _ => format!("cannot connect to meshd on {socket}: {error}"),
        })
    }

    /// The daemon cannot be reached at its remote address.
    pub(crate) fn connect_remote(address: SocketAddr, error: &io::Error) -> Self {
        Self::Unreachable(format!(
            "cannot connect to meshd at {address}: {error}; its mesh address works from inside the \
             mesh only, and its `remote.listen` must say mesh:{}",
            address.port()
        ))
    }

    /// The daemon took the request and did not answer.
    pub(crate) fn no_answer(socket: &Path, why: &str) -> Self {
        Self::Unreachable(format!(
            "meshd on {} did not answer ({why}): it is stopping, overloaded or stuck; \
             see `journalctl -u meshd`",
            socket.display()
        ))
    }

    /// A file operation failed.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File {
            action,
            path: path.to_owned(),
            source,
        }
    }
}
