//! Store: what must survive the process, in one redb file. Holds envelopes, ids, revisions and times,
//! nothing that is secret or in clear.

pub mod rows;

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use mesh_proto::ServerId;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use crate::registry::Write;
use rows::{decode_key, decode_member, decode_report, encode_key, encode_member, encode_report};

type Rows = TableDefinition<'static, &'static [u8], &'static [u8]>;

const META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");
const SERVER: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("server");
const MEMBERS: Rows = TableDefinition::new("members");
const REPORTS: Rows = TableDefinition::new("reports");
const FORMAT: u64 = 1;
/// Name of the file in the data directory.
pub const FILE_NAME: &str = "discovery.redb";

/// Why the store could not be opened or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The directory cannot be made or used.
    #[error("cannot use the data directory {path}: {source}; create it, owned by this user")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process has it open.
    #[error("{0} is in use by another discovery-server; stop that one or give another --data-dir")]
    InUse(PathBuf),
    /// It cannot be opened or read.
    #[error(
        "cannot open {path}: {message}; if it is damaged, move it away: members register again"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// Written by another version.
    #[error("{path} has format {found}, this build reads format 1; use the version that wrote it")]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// A transaction failed.
    #[error("cannot write the store: {0}; check free space and permissions of the data directory")]
    Write(Box<redb::Error>),
}

/// Who the server is, made with a new store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Stable across restarts.
    pub server: ServerId,
    /// New with every new store.
    pub epoch: u64,
}

/// The open store.
pub struct Store {
    path: PathBuf,
    /// Missing after a failed write: redb refuses to go on after an I/O error until it is opened anew.
    database: Option<Database>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.path.display())
    }
}

impl Store {
    /// Opens or makes the store in `directory`.
    ///
    /// # Errors
    /// [`StoreError`], with what to do.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let unusable = |source| StoreError::Directory {
            path: directory.to_owned(),
            source,
        };
        let private = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory);
        private.map_err(unusable)?;
        let path = directory.join(FILE_NAME);
        let database = open_database(&path)?;
        // Makes the file's name as durable as its content.
        fs::File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(unusable)?;
        Ok(Self {
            path,
            database: Some(database),
        })
    }

    /// The server's identity; `fresh` is stored if there is none.
    ///
    /// # Errors
    /// [`StoreError::Format`] or [`StoreError::Write`].
    pub fn identity(&mut self, fresh: Identity) -> Result<Identity, StoreError> {
        let path = self.path.clone();
        self.write(|transaction| {
            let mut meta = transaction.open_table(META)?;
            let mut server = transaction.open_table(SERVER)?;
            let format = meta.get("format")?.map(|format| format.value());
            let id = server.get("id")?.and_then(|id| id.value().try_into().ok());
            let epoch = meta.get("epoch")?.map(|epoch| epoch.value());
            if let (Some(format), Some(id), Some(epoch)) = (format, id, epoch) {
                let server = ServerId(id);
                return Ok((format, Identity { server, epoch }));
            }
            let format = format.unwrap_or(FORMAT);
            meta.insert("format", format)?;
            meta.insert("epoch", fresh.epoch)?;
            server.insert("id", &fresh.server.0[..])?;
            Ok((format, fresh))
        })
        .and_then(|(found, identity)| match found {
            FORMAT => Ok(identity),
            found => Err(StoreError::Format { path, found }),
        })
    }

    /// The identity of a store that has one.
    ///
    /// # Errors
    /// [`StoreError::Open`] if it has none, or as [`Self::identity`].
    pub fn known_identity(&mut self) -> Result<Identity, StoreError> {
        let none = Identity {
            server: ServerId([0; 16]),
            epoch: 0,
        };
        let found = self.identity(none)?;
        if found == none {
            return Err(StoreError::Open {
                path: self.path.clone(),
                message: "no server has used it yet".to_owned(),
            });
        }
        Ok(found)
    }

    /// Everything that is stored, members before their reports. A row that cannot be read is skipped
    /// and counted.
    ///
    /// # Errors
    /// [`StoreError::Open`] if the file cannot be read.
    pub fn load(&self) -> Result<(Vec<Write>, usize), StoreError> {
        let load = || -> Result<_, redb::Error> {
            let Some(database) = &self.database else {
                return Ok((Vec::new(), 0));
            };
            let transaction = database.begin_read()?;
            let (mut writes, mut skipped) = (Vec::new(), 0);
            type Decode = fn(crate::registry::Key, &[u8]) -> Option<Write>;
            let tables: [(Rows, Decode); 2] = [(MEMBERS, decode_member), (REPORTS, decode_report)];
            for (table, decode) in tables {
                let rows = match transaction.open_table(table) {
                    Ok(rows) => rows,
                    Err(redb::TableError::TableDoesNotExist(_)) => continue,
                    Err(error) => return Err(error.into()),
                };
                for row in rows.iter()? {
                    let (key, value) = row?;
                    let write = decode_key(key.value()).and_then(|key| decode(key, value.value()));
                    match write {
                        Some(write) => writes.push(write),
                        None => skipped += 1,
                    }
                }
            }
            Ok((writes, skipped))
        };
        load().map_err(|error| StoreError::Open {
            path: self.path.clone(),
            message: error.to_string(),
        })
    }

    /// Makes `writes` durable, all or none.
    ///
    /// # Errors
    /// [`StoreError::Write`] or, after an earlier error, [`StoreError::Open`].
    pub fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        self.write(|transaction| {
            let mut members = transaction.open_table(MEMBERS)?;
            let mut reports = transaction.open_table(REPORTS)?;
            for write in writes {
                let key = encode_key(write.key());
                match write {
                    Write::Member(_, stored) => {
                        members.insert(&key[..], &encode_member(stored)[..])?;
                        if stored.kind == mesh_proto::EnvelopeKind::Left {
                            reports.remove(&key[..])?;
                        }
                    }
                    Write::Report(_, report) => {
                        reports.insert(&key[..], &encode_report(report)[..])?;
                    }
                    Write::Forget(_) => {
                        members.remove(&key[..])?;
                        reports.remove(&key[..])?;
                    }
                }
            }
            Ok(())
        })
    }

    /// Writes a mark, to learn whether writing works (again).
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub fn probe(&mut self, mark: u64) -> Result<(), StoreError> {
        self.write(|transaction| {
            transaction.open_table(META)?.insert("probe", mark)?;
            Ok(())
        })
    }

    fn write<T>(
        &mut self,
        fill: impl FnOnce(&redb::WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let database = match self.database.take() {
            Some(database) => database,
            None => open_database(&self.path)?,
        };
        let write = || -> Result<T, redb::Error> {
            let transaction = database.begin_write()?;
            let out = fill(&transaction)?;
            transaction.commit()?;
            Ok(out)
        };
        let out = write().map_err(|error| StoreError::Write(Box::new(error)))?;
        self.database = Some(database);
        Ok(out)
    }
}

fn open_database(path: &Path) -> Result<Database, StoreError> {
    // In a directory that was there before, only the file's own mode keeps others out.
    let _ = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    Database::create(path).map_err(|error| match error {
        redb::DatabaseError::DatabaseAlreadyOpen => StoreError::InUse(path.to_owned()),
        error => StoreError::Open {
            path: path.to_owned(),
            message: error.to_string(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Key, Stored, StoredReport};
    use mesh_proto::envelope::Contents;
    use mesh_proto::{ClusterKeys, Envelope, EnvelopeKind, IdentityKey, Sequence};

    fn row(node: u8, kind: EnvelopeKind) -> (Key, bytes::Bytes) {
        let (keys, identity) = (
            ClusterKeys::derive(&[1; 32]),
            IdentityKey::from_seed(&[node; 32]),
        );
        let contents = Contents {
            kind,
            sequence: Sequence(7),
            plaintext: b"{}",
        };
        let envelope = Envelope::seal(&keys, &identity, contents, [3; 24]).unwrap();
        let (cluster, member) = (envelope.cluster(), envelope.member());
        (Key { cluster, member }, envelope.encode().into())
    }

    fn member(node: u8, kind: EnvelopeKind) -> Write {
        let (key, bytes) = row(node, kind);
        let stored = Stored {
            bytes,
            kind,
            sequence: Sequence(7),
            fresh: node == 1,
            changed: 12,
            recorded: 11,
            seen_ms: 1 << 40,
        };
        Write::Member(key, stored)
    }

    #[test]
    fn rows_come_back_and_damaged_ones_are_skipped() {
        let directory = tempfile::tempdir().unwrap();
        let (key, bytes) = row(1, EnvelopeKind::Report);
        let report = Write::Report(
            key,
            StoredReport {
                bytes,
                sequence: Sequence(7),
                at_ms: 5,
            },
        );
        let mut writes = vec![
            member(1, EnvelopeKind::Record),
            member(2, EnvelopeKind::Left),
            report,
        ];
        let mut store = Store::open(directory.path()).unwrap();
        store.commit(&writes).unwrap();
        // An envelope under another member's key, a cut row, a key of the wrong length.
        let mut put = |key: &[u8], value: &[u8]| {
            let put = store.write(|transaction| {
                transaction.open_table(MEMBERS)?.insert(key, value)?;
                Ok(())
            });
            put.unwrap();
        };
        let Write::Member(_, stored) = &writes[0] else {
            panic!()
        };
        put(&[9; 64], &encode_member(stored));
        put(&[8; 64], &encode_member(stored)[..40]);
        put(&[7; 3], &encode_member(stored));
        drop(store);
        let store = Store::open(directory.path()).unwrap();
        let (mut loaded, skipped) = store.load().unwrap();
        let by_key = |write: &Write| (write.key(), matches!(write, Write::Report(..)));
        loaded.sort_by_key(by_key);
        writes.sort_by_key(by_key);
        assert_eq!((loaded, skipped), (writes, 3));
    }

    #[test]
    fn the_file_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        drop(Store::open(directory.path()).unwrap());
        let file = fs::metadata(directory.path().join(FILE_NAME)).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_leave_and_forgetting_take_the_report_along() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path()).unwrap();
        for last in [
            member(1, EnvelopeKind::Left),
            Write::Forget(row(1, EnvelopeKind::Left).0),
        ] {
            let (key, bytes) = row(1, EnvelopeKind::Report);
            let report = Write::Report(
                key,
                StoredReport {
                    bytes,
                    sequence: Sequence(7),
                    at_ms: 5,
                },
            );
            store
                .commit(&[member(1, EnvelopeKind::Record), report])
                .unwrap();
            assert_eq!(store.load().unwrap().0.len(), 2);
            store.commit(std::slice::from_ref(&last)).unwrap();
            let left = usize::from(matches!(last, Write::Member(..)));
            assert_eq!(store.load().unwrap().0.len(), left);
        }
    }
}
