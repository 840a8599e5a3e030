//! Where the session models follow what the real engine says on the seam, in one place.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use meshd_core::data_plane::PathId;

/// The path of a packet that came to `local` from `remote`, as the engine reports it.
pub(super) const fn arrival(local: IpAddr, remote: SocketAddr) -> PathId {
    PathId {
        local: Some(local),
        remote,
    }
}

/// True if a packet that came by `path` came by the path in use: one without a local address leaves it
/// open.
pub(super) fn is_same(in_use: PathId, path: PathId) -> bool {
    in_use.remote == path.remote && (in_use.local.is_none() || in_use.local == path.local)
}

/// Data without any answer for so long is told of, and again each time.
pub(super) const PATIENCE: Duration = Duration::from_millis(50);
