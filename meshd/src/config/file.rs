//! The files a configuration names: itself, the cluster secret, preshared keys, the zone file.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use mesh_proto::limits::MAX_ZONE_BYTES;
use mesh_proto::record::is_label;
use mesh_proto::{ClusterId, ClusterSecret, PresharedKey};
use zeroize::Zeroizing;

use super::issue::{ConfigError, Issue};
use super::reader::{Issues, Section};
use super::{Config, sections, tree, warnings};

/// Bytes of a configuration file.
const MAX_CONFIG_BYTES: u64 = 1024 * 1024;
/// Bytes of a secret, key or zone file.
pub(super) const MAX_SMALL_FILE_BYTES: u64 = 64 * 1024;

/// The default of `node.name`, before the hostname: for containers, whose orchestrator knows the node's.
const NODE_NAME_VARIABLE: &str = "MESHD_NODE_NAME";
/// Where systemd puts credentials (`systemd.exec(5)`).
const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";
/// What the units' `LoadCredential=` calls the cluster secret, and which file it is a copy of.
const SECRET_CREDENTIAL: (&str, &str) = ("cluster.secret", "/etc/meshd/cluster.secret");
/// `1`: files with secrets may have any mode. For Talos, which writes every file of an extension's
/// configuration with 0644, on machines without other users.
const ANY_MODE_VARIABLE: &str = "MESHD_SECRETS_ANY_MODE";
/// Bytes of a remote token: fewer can be guessed, more do not fit into a header line comfortably.
const TOKEN_BYTES: std::ops::RangeInclusive<usize> = 16..=1024;

/// A configuration that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What will be surprising, with its key.
    pub warnings: Vec<String>,
}

/// Reads a configuration file and the preshared keys it names. Not the cluster secret: see
/// [`load_secret`].
///
/// # Errors
/// [`ConfigError`] with everything that is wrong.
pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
    let text = read_bounded(path, MAX_CONFIG_BYTES).map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => "; write one or name another with --config",
            _ => "",
        };
        ConfigError::whole(path, format!("cannot be read: {error}{hint}"))
    })?;
    let hostname = match std::env::var(NODE_NAME_VARIABLE) {
        Ok(name) => name,
        Err(_) => fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default(),
    };
    let parsed = parse(&text, hostname.trim());
    let fail = |issues| ConfigError {
        path: path.to_owned(),
        issues,
    };
    let mut loaded = parsed.map_err(fail)?;
    let credentials = std::env::var_os(CREDENTIALS_VARIABLE).map(PathBuf::from);
    let cluster = &mut loaded.config.cluster;
    cluster.secret_file = secret_file(&cluster.secret_file, credentials.as_deref());
    let mut issues = Vec::new();
    for (index, configured) in loaded.config.external_peers.iter_mut().enumerate() {
        let Some(file) = &configured.preshared_key_file else {
            continue;
        };
        match load_preshared_key(file) {
            Ok(key) => configured.peer.preshared_key = Some(key),
            Err(error) => issues.push(Issue {
                line: None,
                key: format!("externalPeers[{index}].presharedKeyFile"),
                message: error.to_string(),
            }),
        }
    }
    if issues.is_empty() {
        Ok(loaded)
    } else {
        Err(fail(issues))
    }
}

/// Checks the text of a configuration; reads no file. `hostname` is the default of `node.name`.
///
/// # Errors
/// Everything that is wrong, in the order of the file.
pub fn parse(text: &str, hostname: &str) -> Result<Loaded, Vec<Issue>> {
    let issues = Issues::default();
    let document = tree::parse(text).map_err(|issue| vec![issue])?;
    let mut root = Section::root(&document, &issues);
    let config = sections::config(&mut root, hostname);
    root.finish();
    match config {
        Some(config) if issues.is_empty() => Ok(Loaded {
            warnings: warnings::warnings(&config)
                .iter()
                .map(ToString::to_string)
                .collect(),
            config,
        }),
        _ => Err(issues.into_sorted()),
    }
}

/// What `meshd --check` found. Displays one line for each thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckReport {
    /// The file.
    pub path: PathBuf,
    /// What is wrong; meshd would not start.
    pub errors: Vec<String>,
    /// What will be surprising.
    pub warnings: Vec<String>,
}

impl CheckReport {
    /// 0 if meshd would start with this configuration, else 2.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        if self.errors.is_empty() { 0 } else { 2 }
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in &self.errors {
            writeln!(f, "error: {error}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        let path = self.path.display();
        match (self.errors.len(), self.warnings.len()) {
            (0, 0) => write!(f, "{path} is right"),
            (0, count) => write!(f, "{path} can be used; warnings: {count}"),
            (count, _) => write!(f, "{path} cannot be used; errors: {count}"),
        }
    }
}

/// Checks a configuration and the files it names, as a start would.
#[must_use]
pub fn check(path: &Path) -> CheckReport {
    let mut report = CheckReport {
        path: path.to_owned(),
        errors: Vec::new(),
        warnings: Vec::new(),
    };
    let loaded = match load(path) {
        Ok(loaded) => loaded,
        Err(error) => {
            report.errors = error.to_string().lines().map(str::to_owned).collect();
            return report;
        }
    };
    report.warnings = loaded.warnings;
    let config = loaded.config;
    if let Err(error) = load_secret(&config.cluster.secret_file, config.cluster.id) {
        report.errors.push(format!("cluster.secretFile: {error}"));
    }
    if let Some(file) = &config.discovery.ca_file
        && let Err(error) = read_ca(file)
    {
        report.errors.push(format!("discovery.caFile: {error}"));
    }
    if let Some(remote) = &config.remote
        && let Err(error) = load_token(&remote.token_file)
    {
        report.errors.push(format!("remote.tokenFile: {error}"));
    }
    report
}

/// systemd's copy of the secret stands for the file itself, which then only root has to read.
pub(super) fn secret_file(named: &Path, credentials: Option<&Path>) -> PathBuf {
    let (credential, original) = SECRET_CREDENTIAL;
    credentials
        .filter(|_| named == Path::new(original))
        .map(|directory| directory.join(credential))
        .filter(|copy| copy.exists())
        .unwrap_or_else(|| named.to_owned())
}

/// Reads the word of `remote.tokenFile`.
///
/// # Errors
/// [`SecretError`] names the file and what to do.
pub fn load_token(path: &Path) -> Result<Zeroizing<String>, SecretError> {
    let hint = "; make one with `openssl rand -hex 32` and give it mode 0600";
    let text = read_private(path, hint)?;
    let token = text.trim();
    let printable = token.bytes().all(|byte| byte.is_ascii_graphic());
    if printable && TOKEN_BYTES.contains(&token.len()) {
        return Ok(Zeroizing::new(token.to_owned()));
    }
    Err(SecretError::Content {
        path: path.to_owned(),
        message: format!(
            "must hold one word of {} to {} letters and digits",
            TOKEN_BYTES.start(),
            TOKEN_BYTES.end()
        ),
    })
}

/// Why a file with a secret in it, or one that is trusted, cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// It cannot be read.
    #[error("{path} cannot be read: {source}{hint}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
        /// What to do; may be empty.
        hint: &'static str,
    },
    /// Others than its owner may read or write it.
    #[error("{path} has mode {mode:04o} and others can read it: run `chmod 600 {path}`")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Its content is wrong.
    #[error("{path}: {message}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// It is the secret of another cluster than `cluster.id` says.
    #[error(
        "{path} is the secret of cluster {found}, but cluster.id says {pinned}: copy the secret of \
         that cluster here, or correct cluster.id"
    )]
    OtherCluster {
        /// The file.
        path: PathBuf,
        /// Whose secret it is.
        found: ClusterId,
        /// What `cluster.id` says.
        pinned: ClusterId,
    },
}

/// Reads the cluster secret. `pinned` is `cluster.id`.
///
/// # Errors
/// [`SecretError`] names the file and what to do.
pub fn load_secret(path: &Path, pinned: Option<ClusterId>) -> Result<ClusterSecret, SecretError> {
    let hint = "; make one with `meshctl cluster init`, or copy it from another node";
    let text = read_private(path, hint)?;
    let secret = ClusterSecret::parse(&text).map_err(|error| SecretError::Content {
        path: path.to_owned(),
        message: error.to_string(),
    })?;
    // The first secret is the one this node writes with; during a rotation the pin may still name
    // an older one.
    let ids: Vec<_> = secret.keys().iter().map(|keys| keys.cluster_id()).collect();
    match pinned {
        Some(pinned) if !ids.contains(&pinned) => Err(SecretError::OtherCluster {
            path: path.to_owned(),
            found: ids[0],
            pinned,
        }),
        _ => Ok(secret),
    }
}

/// Reads the PEM certificates of `discovery.caFile`.
///
/// # Errors
/// [`SecretError`] names the file and what to do.
pub fn read_ca(path: &Path) -> Result<Vec<u8>, SecretError> {
    let text = read_small(path, "")?;
    let wrong = |message: String| SecretError::Content {
        path: path.to_owned(),
        message,
    };
    match reqwest::Certificate::from_pem_bundle(text.as_bytes()) {
        Ok(list) if !list.is_empty() => Ok(text.as_bytes().to_vec()),
        Ok(_) => Err(wrong("holds no PEM certificate".to_owned())),
        Err(error) => Err(wrong(format!("holds no usable PEM certificate: {error}"))),
    }
}

/// Reads `node.zoneFile`: the first word of the file, or none if the file is empty or gone.
///
/// # Errors
/// What is wrong, in words, if there is a file that cannot be used; the zone then stays what it was.
pub fn read_zone_file(path: &Path) -> Result<Option<String>, String> {
    let text = match read_bounded(path, MAX_SMALL_FILE_BYTES) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{} cannot be read: {error}", path.display())),
    };
    match text.trim() {
        "" => Ok(None),
        zone if is_label(zone, MAX_ZONE_BYTES) => Ok(Some(zone.to_owned())),
        zone => Err(format!(
            "{}: {:?} cannot be a zone: write 1 to {MAX_ZONE_BYTES} letters, digits and -_./",
            path.display(),
            zone.chars().take(80).collect::<String>()
        )),
    }
}

fn load_preshared_key(path: &Path) -> Result<PresharedKey, SecretError> {
    let text = read_private(path, "; make one with `wg genpsk`")?;
    text.parse().map_err(|error| SecretError::Content {
        path: path.to_owned(),
        message: format!("{error}"),
    })
}

/// Reads a file that holds a secret: refused if anybody but its owner, or the group root, can read it.
fn read_private(path: &Path, hint: &'static str) -> Result<Zeroizing<String>, SecretError> {
    let any_mode = std::env::var_os(ANY_MODE_VARIABLE).is_some_and(|value| value == "1");
    if let Ok(metadata) = fs::metadata(path)
        && !any_mode
    {
        let mode = metadata.mode() & 0o777;
        let allowed = if metadata.gid() == 0 { 0o740 } else { 0o700 };
        if mode & !allowed != 0 {
            return Err(SecretError::Mode {
                path: path.to_owned(),
                mode,
            });
        }
    }
    read_small(path, hint)
}

fn read_small(path: &Path, hint: &'static str) -> Result<Zeroizing<String>, SecretError> {
    read_bounded(path, MAX_SMALL_FILE_BYTES).map_err(|source| SecretError::Read {
        path: path.to_owned(),
        hint: match source.kind() {
            io::ErrorKind::NotFound => hint,
            _ => "",
        },
        source,
    })
}

pub(super) fn read_bounded(path: &Path, max: u64) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    File::open(path)?.take(max + 1).read_to_string(&mut text)?;
    if text.len() as u64 > max {
        return Err(io::Error::other(format!("it is larger than {max} bytes")));
    }
    Ok(text)
}
