//! Key rotation on the shell's side: makes the next WireGuard key on disk, hands it to the mesh, and puts it in
//! the place of the present one when the mesh says so. Whether and when is decided there.

use mesh_proto::WgPrivateKey;
use mesh_proto::control::KeyRotated;
use meshd_core::mesh::KeyRefusal;
use meshd_core::{Mesh, Now};
use tokio::sync::mpsc;

use super::queries::{Ready, send};
use crate::control::{Refusal, Reply};
use crate::state::{KeyFiles, StateError};

/// A rotation whose key is on disk, or could not be written.
#[derive(Debug)]
pub(super) struct ReadyKey {
    key: Result<WgPrivateKey, StateError>,
    external_too: bool,
    reply: Reply<KeyRotated>,
}

/// Rotates the WireGuard key, once at a time.
#[derive(Debug)]
pub(super) struct KeyRotation {
    files: KeyFiles,
    ready: mpsc::Sender<Ready>,
    writes: bool,
}

impl KeyRotation {
    /// Over these files; what is ready goes to `ready`, and from there to [`Self::hand_over`].
    pub(super) const fn new(files: KeyFiles, ready: mpsc::Sender<Ready>) -> Self {
        Self {
            files,
            ready,
            writes: false,
        }
    }

    /// Somebody wants another key.
    pub(super) fn begin(&mut self, mesh: &Mesh, external_too: bool, reply: Reply<KeyRotated>) {
        let may = if self.writes {
            Err(KeyRefusal::UnderWay)
        } else {
            mesh.may_rotate_key(external_too)
        };
        if let Err(refusal) = may {
            return send(reply, Err(refused(&refusal)));
        }
        self.writes = true;
        let (files, ready) = (self.files.clone(), self.ready.clone());
        tokio::task::spawn_blocking(move || {
            let key = ReadyKey {
                key: files.make_next(),
                external_too,
                reply,
            };
            // The event loop is gone only when the daemon stops; the client is told by the drop.
            let _ = ready.blocking_send(Ready::Key(key));
        });
    }

    /// The key is on disk: the mesh may use it.
    pub(super) fn hand_over(&mut self, ready: ReadyKey, mesh: &mut Mesh, now: Now) {
        self.writes = false;
        let rotated = match ready.key {
            Ok(key) => mesh
                .rotate_key(key, ready.external_too, now)
                .map_err(|refusal| refused(&refusal)),
            Err(error) => Err(Refusal::unavailable(format!(
                "there is no new key: {error}"
            ))),
        };
        if rotated.is_err() {
            self.on_disk(KeyFiles::discard_next);
        }
        send(ready.reply, rotated);
    }

    /// The mesh uses this key now.
    pub(super) fn in_use(&self, key: WgPrivateKey) {
        self.on_disk(move |files| files.promote(&key));
    }

    fn on_disk(&self, act: impl FnOnce(&KeyFiles) -> Result<(), StateError> + Send + 'static) {
        let files = self.files.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = act(&files) {
                tracing::error!("the next start puts this right: {error}");
            }
        });
    }
}

fn refused(refusal: &KeyRefusal) -> Refusal {
    Refusal::unavailable(format!("the key stays: {refusal}"))
}
