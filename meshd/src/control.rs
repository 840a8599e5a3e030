//! Control server: HTTP over a Unix socket, one request at a time handed to the daemon's event loop.
//!
//! It knows routes, bounds and the socket file. It knows nothing of the mesh: every request becomes a
//! [`ControlRequest`] with a channel for the answer. Who may connect is decided by the socket's mode
//! (0660: root and the socket's group), for reading and for changes alike. Over TCP there is reading only:
//! see `remote`.

mod event_log;
mod event_routes;
mod remote;
#[cfg(test)]
mod remote_tests;
mod routes;
mod socket;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mesh_proto::VerifiedEnvelope;
use mesh_proto::control::{
    Explain, KeyRotated, Left, Members, Paths, Peers, Pinged, RemovedMembers, Routes, ShowConf,
    Status, Topology,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::bounded::BoundedListener;
pub use event_log::EventLog;
use event_routes::EventDesk;
pub use remote::{MAX_REMOTE_CONNECTIONS, Token, bind as bind_remote};
use socket::SocketFile;

/// Requests that may be waiting for an answer, and connections that may be open, at any moment.
pub const MAX_IN_FLIGHT: usize = 64;

/// How long the event loop may take to answer one request.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long [`ControlServer::stop`] waits for answers that are under way.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// Where the answer to a request goes. A dropped sender is answered as "the daemon is stopping".
pub type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// One question to the event loop.
#[derive(Debug)]
pub enum ControlRequest {
    /// `GET /v1/status`.
    Status(Reply<Status>),
    /// `GET /v1/peers`.
    Peers(Reply<Peers>),
    /// `GET /v1/members`.
    Members(Reply<Members>),
    /// `GET /v1/paths/{name}`.
    Paths {
        /// Display name, unique name or id of the peer.
        name: String,
        /// Where the answer goes.
        reply: Reply<Paths>,
    },
    /// `GET /v1/ping/{name}`: one question through the tunnel.
    Ping {
        /// Display name, unique name or id of the peer.
        name: String,
        /// Where the answer goes.
        reply: Reply<Pinged>,
    },
    /// `GET /v1/topology`.
    Topology(Reply<Topology>),
    /// `GET /v1/routes`.
    Routes(Reply<Routes>),
    /// `GET /v1/explain/{ip}`.
    Explain {
        /// The address asked about.
        address: IpAddr,
        /// Where the answer goes.
        reply: Reply<Explain>,
    },
    /// `GET /v1/showconf[?as_peer=NAME]`.
    ShowConf {
        /// Name of the external peer whose side is wanted; none for this node's side.
        as_peer: Option<String>,
        /// Where the answer goes.
        reply: Reply<ShowConf>,
    },
    /// `GET /v1/removals`.
    Removals(Reply<RemovedMembers>),
    /// `POST /v1/remove`: the administrator's list of removed members.
    Remove {
        /// The list, once for each cluster secret; signatures are checked, by whom is not.
        list: Vec<VerifiedEnvelope>,
        /// Where the answer goes.
        reply: Reply<RemovedMembers>,
    },
    /// `POST /v1/key/rotate[?cut_external_peers=true]`.
    RotateKey {
        /// Stock peers may be cut off by it.
        external_too: bool,
        /// Where the answer goes.
        reply: Reply<KeyRotated>,
    },
    /// `POST /v1/leave`: publish a signed leave, answer, then stop the daemon.
    Leave(Reply<Left>),
}

/// Why a request gets no document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status, 400 to 599.
    pub status: u16,
    /// What was tried, what went wrong, what to do.
    pub message: String,
}

impl Refusal {
    /// 404: there is nothing of that name.
    #[must_use]
    pub fn not_found(message: impl Into<String>) -> Self {
        Self {
            status: 404,
            message: message.into(),
        }
    }

    /// 400: the request itself is wrong.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self {
            status: 400,
            message: message.into(),
        }
    }

    /// 503: not now.
    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self {
            status: 503,
            message: message.into(),
        }
    }
}

/// Why the control socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The directory of the socket could not be made.
    #[error("cannot create directory {path} for the control socket: {source}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A process listens on the socket.
    #[error(
        "another process answers on the control socket {path}: another meshd runs with it; stop that \
         one or set another `controlSocket`"
    )]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something else has that name.
    #[error("{path} exists and is not a socket; move it away or set another `controlSocket`")]
    NotASocket {
        /// What is in the way.
        path: PathBuf,
    },
    /// The socket could not be bound or given its mode.
    #[error("cannot listen on the control socket {path}: {source}")]
    Listen {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
}

/// The running control server. Dropping it stops it and removes the socket.
#[derive(Debug)]
pub struct ControlServer {
    socket: SocketFile,
    reading: axum::Router,
    events: EventLog,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

/// Opens the control socket at `path` and answers on it from a task of its own. Call it inside a
/// tokio runtime.
///
/// A missing directory is created with mode 0755. A socket on which nobody listens is replaced.
///
/// # Errors
/// [`ControlError`] says what is in the way.
pub fn serve(
    path: &Path,
    requests: mpsc::Sender<ControlRequest>,
) -> Result<ControlServer, ControlError> {
    let listen = |source| ControlError::Listen {
        path: path.to_owned(),
        source,
    };
    let (listener, socket) = socket::open(path)?;
    listener.set_nonblocking(true).map_err(listen)?;
    let listener = tokio::net::UnixListener::from_std(listener).map_err(listen)?;
    let listener = BoundedListener::new(listener, MAX_IN_FLIGHT);
    let cancel = CancellationToken::new();
    let stopped = cancel.clone();
    let events = EventLog::new();
    let desk = EventDesk::new(events.clone(), cancel.clone());
    let reading = routes::reading(requests.clone(), desk, ANSWER_TIMEOUT);
    let router = reading
        .clone()
        .merge(routes::changing(requests, ANSWER_TIMEOUT));
    let task = tokio::spawn(async move {
        let serving = axum::serve(listener, router)
            .with_graceful_shutdown(async move { stopped.cancelled().await });
        if let Err(error) = serving.await {
            tracing::error!(%error, "control server ended");
        }
    });
    Ok(ControlServer {
        socket,
        reading,
        events,
        cancel,
        task,
    })
}

/// Removes the socket at `path` if it is one and nobody answers on it. True if it did.
#[must_use]
pub fn remove_dead(path: &Path) -> bool {
    path.exists() && socket::remove_stale(path).is_ok() && !path.exists()
}

impl ControlServer {
    /// The socket's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.socket.path()
    }

    /// Where events go that clients shall see.
    #[must_use]
    pub fn events(&self) -> EventLog {
        self.events.clone()
    }

    /// Offers what changes nothing on `listener` too, to whoever knows `token`.
    ///
    /// # Errors
    /// If the listener cannot be handed to the runtime.
    pub fn offer_reading(
        &self,
        listener: std::net::TcpListener,
        token: Token,
    ) -> std::io::Result<()> {
        remote::serve(listener, self.reading.clone(), token, self.cancel.clone())
    }

    /// Stops taking requests, lets answers under way reach their clients (for at most a second), and
    /// removes the socket.
    pub async fn stop(mut self) {
        self.cancel.cancel();
        if tokio::time::timeout(STOP_GRACE, &mut self.task)
            .await
            .is_err()
        {
            tracing::debug!("control clients did not take their answers in time");
        }
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.cancel.cancel();
        self.task.abort();
    }
}
