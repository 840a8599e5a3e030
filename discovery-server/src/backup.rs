//! Backup: everything a store holds as one file that can be checked, taken from a running server or from a
//! store at rest, and put into a new store. Holds sealed records only, as the store does.
//!
//! ```text
//! "mesh discovery backup 1" LF | server id 16 | epoch u64
//! rows: kind u8 (1 member, 2 report) | length u32 | cluster id 32 | member id 32 | row as in the store
//! end:  kind u8 0 | number of rows u64 | SHA-256 of everything before
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use mesh_proto::ServerId;
use sha2::{Digest as _, Sha256};

use crate::registry::Write as Row;
use crate::store::rows::{
    decode_key, decode_member, decode_report, encode_key, encode_member, encode_report,
};
use crate::store::{FILE_NAME, Identity, Store, StoreError};

const MAGIC: &[u8] = b"mesh discovery backup 1\n";
const END: u8 = 0;
const MEMBER: u8 = 1;
const REPORT: u8 = 2;
/// A row is an envelope and some numbers.
const MAX_ROW_BYTES: usize = 64 * 1024;
/// Where a running server gives its backup, in the data directory.
pub const SOCKET_NAME: &str = "backup.sock";

/// Why a backup was not made or not put back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// A file cannot be read or written.
    #[error("{what} {path}: {source}")]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// It is no backup, or not a whole one.
    #[error("{0} is no whole backup: {1}; take another one")]
    Damaged(PathBuf, &'static str),
    /// There is something already.
    #[error("{0} holds a store already; move it away, or give an empty --data-dir")]
    Occupied(PathBuf),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Writes a backup.
///
/// # Errors
/// What `out` says.
pub fn write(identity: Identity, rows: &[Row], out: impl Write) -> io::Result<()> {
    let mut out = Summed::new(BufWriter::new(out));
    out.put(MAGIC)?;
    out.put(&identity.server.0)?;
    out.put(&identity.epoch.to_be_bytes())?;
    let mut count = 0u64;
    for row in rows {
        let (kind, bytes) = match row {
            Row::Member(_, stored) => (MEMBER, encode_member(stored)),
            Row::Report(_, report) => (REPORT, encode_report(report)),
            Row::Forget(_) => continue,
        };
        out.put(&[kind])?;
        out.put(&(bytes.len() as u32).to_be_bytes())?;
        out.put(&encode_key(row.key()))?;
        out.put(&bytes)?;
        count += 1;
    }
    out.put(&[END])?;
    out.put(&count.to_be_bytes())?;
    let sum = out.sum.clone().finalize();
    out.inner.write_all(&sum)?;
    out.inner.flush()
}

/// Reads a backup; none if it is not a whole one, with the reason.
///
/// # Errors
/// Why it is refused.
pub fn read(input: impl Read) -> Result<(Identity, Vec<Row>), &'static str> {
    let mut input = Summed::new(BufReader::new(input));
    if input.take(MAGIC.len())? != MAGIC {
        return Err("it does not begin as one");
    }
    let server = ServerId(input.array()?);
    let epoch = u64::from_be_bytes(input.array()?);
    let mut rows = Vec::new();
    loop {
        let [kind] = input.array()?;
        if kind == END {
            break;
        }
        let length = u32::from_be_bytes(input.array()?) as usize;
        if length > MAX_ROW_BYTES {
            return Err("a row is too long");
        }
        let key = decode_key(&input.array::<64>()?).ok_or("a key is damaged")?;
        let bytes = input.take(length)?;
        let row = match kind {
            MEMBER => decode_member(key, &bytes),
            REPORT => decode_report(key, &bytes),
            _ => None,
        };
        rows.push(row.ok_or("a row is damaged")?);
    }
    if u64::from_be_bytes(input.array()?) != rows.len() as u64 {
        return Err("rows are missing");
    }
    let sum = input.sum.clone().finalize();
    let mut stored = [0; 32];
    let rest = input.inner.read_exact(&mut stored);
    rest.map_err(|_| "it ends too early")?;
    if stored[..] != sum[..] {
        return Err("its checksum is wrong");
    }
    Ok((Identity { server, epoch }, rows))
}

/// Backs up the store in `directory` to the new file `to`: from the running server if there is one.
///
/// # Errors
/// [`BackupError`]; an unfinished file is removed.
pub fn take(directory: &Path, to: &Path) -> Result<usize, BackupError> {
    let file_error = |what, path: &Path| {
        let path = path.to_owned();
        move |source| BackupError::File { what, path, source }
    };
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let file = options.open(to).map_err(file_error("cannot make", to))?;
    let taken = match UnixStream::connect(directory.join(SOCKET_NAME)) {
        Ok(mut stream) => io::copy(&mut stream, &mut &file).map(|_| ()),
        Err(_) if directory.join(FILE_NAME).exists() => {
            let mut store = Store::open(directory)?;
            let identity = store.known_identity()?;
            write(identity, &store.load()?.0, &file)
        }
        Err(error) => Err(error),
    };
    let checked = taken
        .and_then(|()| file.sync_all())
        .map_err(file_error("cannot back up", directory))
        .and_then(|()| inspect(to));
    if checked.is_err() {
        // The first error says more than one about cleaning up.
        let _ = fs::remove_file(to);
    }
    Ok(checked?.1.len())
}

/// Makes a store in `directory` from the backup `from`. The server keeps its id and gets a new epoch:
/// its history goes back, so watchers have to be sent everything.
///
/// # Errors
/// [`BackupError`]
pub fn put_back(directory: &Path, from: &Path, epoch: u64) -> Result<usize, BackupError> {
    let (identity, rows) = inspect(from)?;
    if directory.join(FILE_NAME).exists() {
        return Err(BackupError::Occupied(directory.join(FILE_NAME)));
    }
    let mut store = Store::open(directory)?;
    store.identity(Identity { epoch, ..identity })?;
    store.commit(&rows)?;
    Ok(rows.len())
}

fn inspect(path: &Path) -> Result<(Identity, Vec<Row>), BackupError> {
    let file = File::open(path).map_err(|source| BackupError::File {
        what: "cannot read",
        path: path.to_owned(),
        source,
    })?;
    read(file).map_err(|reason| BackupError::Damaged(path.to_owned(), reason))
}

/// Sums up what passes.
struct Summed<T> {
    inner: T,
    sum: Sha256,
}

impl<T> Summed<T> {
    fn new(inner: T) -> Self {
        let sum = Sha256::new();
        Self { inner, sum }
    }
}

impl<T: Write> Summed<T> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.inner.write_all(bytes)
    }
}

impl<T: Read> Summed<T> {
    fn take(&mut self, length: usize) -> Result<Vec<u8>, &'static str> {
        let mut bytes = vec![0; length];
        let read = self.inner.read_exact(&mut bytes);
        read.map_err(|_| "it ends too early")?;
        self.sum.update(&bytes);
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let mut bytes = [0; N];
        let read = self.inner.read_exact(&mut bytes);
        read.map_err(|_| "it ends too early")?;
        self.sum.update(bytes);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Key, Stored};
    use mesh_proto::envelope::Contents;
    use mesh_proto::{ClusterKeys, Envelope, EnvelopeKind, IdentityKey, Sequence};

    const IDENTITY: Identity = Identity {
        server: ServerId([7; 16]),
        epoch: 9,
    };

    fn row(node: u8) -> Row {
        let keys = ClusterKeys::derive(&[1; 32]);
        let contents = Contents {
            kind: EnvelopeKind::Record,
            sequence: Sequence(7),
            plaintext: b"{}",
        };
        let identity = IdentityKey::from_seed(&[node; 32]);
        let envelope = Envelope::seal(&keys, &identity, contents, [3; 24]).unwrap();
        let (cluster, member) = (envelope.cluster(), envelope.member());
        let stored = Stored {
            bytes: envelope.encode().into(),
            kind: EnvelopeKind::Record,
            sequence: Sequence(7),
            fresh: true,
            changed: 12,
            recorded: 11,
            seen_ms: 1 << 40,
        };
        Row::Member(Key { cluster, member }, stored)
    }

    #[test]
    fn what_was_written_comes_back_and_nothing_else_does() {
        let rows = vec![row(1), row(2)];
        let mut bytes = Vec::new();
        write(IDENTITY, &rows, &mut bytes).unwrap();
        assert_eq!(read(&bytes[..]), Ok((IDENTITY, rows)));
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length]).is_err(), "cut at {length}");
        }
        for index in (0..bytes.len()).step_by(7) {
            let mut damaged = bytes.clone();
            damaged[index] ^= 1;
            assert!(read(&damaged[..]).is_err(), "damaged at {index}");
        }
    }

    #[test]
    fn a_store_at_rest_is_backed_up_and_put_back_with_a_new_epoch() {
        let directory = tempfile::tempdir().unwrap();
        let [old, new] = ["old", "new"].map(|name| directory.path().join(name));
        let file = directory.path().join("backup");
        let mut store = Store::open(&old).unwrap();
        store.identity(IDENTITY).unwrap();
        store.commit(&[row(1), row(2)]).unwrap();
        drop(store);
        assert_eq!(take(&old, &file).unwrap(), 2);
        assert!(take(&old, &file).is_err(), "an older backup stays as it is");
        assert_eq!(put_back(&new, &file, 10).unwrap(), 2);
        let again = put_back(&new, &file, 11);
        assert!(matches!(again, Err(BackupError::Occupied(_))));
        let mut store = Store::open(&new).unwrap();
        let identity = store.known_identity().unwrap();
        assert_eq!((identity.server, identity.epoch), (IDENTITY.server, 10));
        assert_eq!(store.load().unwrap().0.len(), 2);
        let nothing = directory.path().join("nothing");
        assert!(take(&nothing, &directory.path().join("other")).is_err());
        assert!(!directory.path().join("other").exists());
    }
}
