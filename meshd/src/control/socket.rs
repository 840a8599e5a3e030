//! The socket file: making it, telling a stale one from a live one, removing it.

use std::fs;
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _,
};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use super::ControlError;

const DIRECTORY_MODE: u32 = 0o755;
const SOCKET_MODE: u32 = 0o660;

/// A socket file of ours; removed on drop, unless somebody else's stands there by then.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

/// Makes the directory, the socket and its mode.
pub(super) fn open(path: &Path) -> Result<(UnixListener, SocketFile), ControlError> {
    create_directory(path)?;
    remove_stale(path)?;
    let listen = |source| ControlError::Listen {
        path: path.to_owned(),
        source,
    };
    let listener = UnixListener::bind(path).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ControlError::InUse {
            path: path.to_owned(),
        },
        _ => listen(source),
    })?;
    let metadata = fs::symlink_metadata(path).map_err(listen)?;
    let file = SocketFile {
        path: path.to_owned(),
        identity: (metadata.dev(), metadata.ino()),
    };
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE)).map_err(listen)?;
    Ok((listener, file))
}

fn create_directory(path: &Path) -> Result<(), ControlError> {
    let Some(directory) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    else {
        return Ok(());
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(directory)
        .map_err(|source| ControlError::Directory {
            path: directory.to_owned(),
            source,
        })
}

/// Removes a socket nobody listens on.
pub(super) fn remove_stale(path: &Path) -> Result<(), ControlError> {
    let listen = |source| ControlError::Listen {
        path: path.to_owned(),
        source,
    };
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(listen(error)),
    };
    if !metadata.file_type().is_socket() {
        return Err(ControlError::NotASocket {
            path: path.to_owned(),
        });
    }
    if somebody_listens(path).map_err(listen)? {
        return Err(ControlError::InUse {
            path: path.to_owned(),
        });
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(listen(error)),
        _ => Ok(()),
    }
}

/// Connects without blocking: a daemon whose backlog is full is alive, and must not stall a start.
fn somebody_listens(path: &Path) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
            ) =>
        {
            Ok(false)
        }
        _ => Ok(true),
    }
}

impl SocketFile {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the control socket");
        }
    }
}
