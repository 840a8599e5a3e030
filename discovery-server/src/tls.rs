//! TLS settings from a certificate and a key file, offering HTTP/2 and HTTP/1.1. Only server authentication: callers prove
//! themselves by signed requests.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file is missing or is not PEM of the right kind.
    #[error("cannot read {path}: {message}; {what} is a PEM file")]
    File {
        /// The file.
        path: PathBuf,
        /// Which of the two.
        what: &'static str,
        /// Why.
        message: String,
    },
    /// The two do not fit together.
    #[error("cannot use the TLS certificate with this key: {0}")]
    Pair(#[from] rustls::Error),
}

/// Certificate and key of a server, which can be read again without a restart.
#[derive(Debug)]
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<ServerConfig>>,
    /// The files that were read last, whether they could be used or not.
    tried: Mutex<Stamp>,
}

/// What changes when a file is replaced or rewritten: modified, length, inode.
type Stamp = [Option<(SystemTime, u64, u64)>; 2];

impl Tls {
    /// Reads certificate chain and key.
    ///
    /// # Errors
    /// [`TlsError`]
    pub fn load(certificate: PathBuf, key: PathBuf) -> Result<Self, TlsError> {
        let tried = Mutex::new([stamp(&certificate), stamp(&key)]);
        let current = RwLock::new(read(&certificate, &key)?);
        Ok(Self {
            certificate,
            key,
            current,
            tried,
        })
    }

    /// Reads the files again; connections from now on get what they hold.
    ///
    /// # Errors
    /// [`TlsError`]; then the old certificate stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        let fresh = read(&self.certificate, &self.key)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// Reads the files again if they are others than at the last try; true if there is a new certificate
    /// in use. A pair of which only one is replaced yet is refused, and tried again with the other.
    ///
    /// # Errors
    /// As [`Self::reload`], once for each state of the files.
    pub fn reload_if_changed(&self) -> Result<bool, TlsError> {
        let found = [stamp(&self.certificate), stamp(&self.key)];
        {
            let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
            if *tried == found {
                return Ok(false);
            }
            *tried = found;
        }
        self.reload().map(|()| true)
    }

    /// What does the handshake of the next connection.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&current))
    }
}

fn stamp(path: &Path) -> Option<(SystemTime, u64, u64)> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.modified().ok()?, found.len(), found.ino()))
}

fn read(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let bad = |path: &Path, what, message: String| TlsError::File {
        path: path.to_owned(),
        what,
        message,
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| bad(certificate, "the certificate", error.to_string()))?;
    if chain.is_empty() {
        return Err(bad(
            certificate,
            "the certificate",
            "it holds none".to_owned(),
        ));
    }
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| bad(key, "the key", error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, private)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
