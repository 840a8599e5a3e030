//! Backup socket: gives a backup of the running server to whoever may open the data directory. Takes no
//! requests: connecting is one.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{UnixListener, UnixStream};

use crate::backup;
use crate::shared::Shared;
use crate::store::Identity;

/// A reader that stopped reading must not keep a copy of everything in memory.
const SEND_LIMIT: Duration = Duration::from_secs(120);

/// Binds the socket in `directory`, in place of one that a killed server left.
///
/// # Errors
/// What the system says, for example that the path is too long.
pub fn bind(directory: &Path) -> io::Result<UnixListener> {
    let path = directory.join(backup::SOCKET_NAME);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    UnixListener::bind(path)
}

/// Gives backups, one after the other, until the server stops.
pub async fn run(shared: Arc<Shared>, listener: UnixListener) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.stop.cancelled() => return,
        };
        if let Ok((stream, _)) = accepted {
            let sent = tokio::time::timeout(SEND_LIMIT, send(&shared, stream)).await;
            match sent {
                Ok(Ok(rows)) => tracing::info!(rows, "a backup was taken"),
                Ok(Err(error)) => tracing::warn!(%error, "a backup was not finished"),
                Err(_) => tracing::warn!("a backup was given up: nobody reads it"),
            }
        }
    }
}

async fn send(shared: &Arc<Shared>, mut stream: UnixStream) -> io::Result<usize> {
    let (identity, rows) = {
        let registry = shared.registry();
        let identity = Identity {
            server: shared.server,
            epoch: registry.epoch(),
        };
        (identity, registry.rows())
    };
    let count = rows.len();
    let encode = move || {
        let mut bytes = Vec::new();
        backup::write(identity, &rows, &mut bytes).map(|()| bytes)
    };
    let bytes = tokio::task::spawn_blocking(encode).await;
    let bytes = bytes.map_err(io::Error::other)??;
    stream.write_all(&bytes).await?;
    stream.shutdown().await?;
    Ok(count)
}
