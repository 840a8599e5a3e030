//! Settings: command line flags over a YAML file over defaults. Parsing only; nothing is opened here
//! but the file itself.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, Subcommand};
use ipnet::IpNet;
use mesh_proto::ClusterId;
use reqwest::Url;
use serde::{Deserialize, Deserializer, de};

use crate::limits::Limits;

/// Where the server listens unless told otherwise.
pub const DEFAULT_LISTEN: &str = "0.0.0.0:7400";
const DEFAULT_LEASE: Duration = Duration::from_secs(300);
const LEASE_RANGE: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
/// Larger files are no configuration.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Self-hosted discovery server of the mesh: keeps sealed member records and pushes their changes.
#[derive(Debug, Default, Parser)]
#[command(
    name = "discovery-server",
    version,
    args_conflicts_with_subcommands = true
)]
pub struct Flags {
    /// Address and port for HTTP; `[::]:7400` takes IPv4 too [default: 0.0.0.0:7400]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// Directory for the store; made if it does not exist
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Certificate chain (PEM); turns TLS on
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Private key (PEM) of the certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Address and port for STUN (UDP), or off [default: as --listen]
    #[arg(long, value_name = "ADDRESS:PORT|off")]
    pub stun_listen: Option<StunListen>,
    /// Where members are kept: embedded, or etcd=URL[,URL...] for several replicas [default: embedded]
    #[arg(long, value_name = "embedded|etcd=URL,...")]
    pub store: Option<StoreChoice>,
    /// Serve this cluster only (repeatable); without it the server serves any
    #[arg(long, value_name = "ID")]
    pub allow_cluster: Vec<ClusterId>,
    /// Believe X-Forwarded-For of proxies in this network (repeatable); of nobody without it
    #[arg(long, value_name = "CIDR")]
    pub trusted_proxy: Vec<IpNet>,
    /// YAML file with the same keys, and `limits`; flags win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How long a lease lasts: 300, 300s or 5m [default: 5m]
    #[arg(long, value_name = "DURATION")]
    pub lease: Option<Lease>,
    /// Log filter, for example debug or discovery_server=trace [default: info]
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// Something else than serving
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the program does instead of serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Back up the members of a running or stopped server to a new file
    Backup {
        /// The server's data directory
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
        /// The file to make
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Make a new data directory from a backup
    Restore {
        /// The new data directory
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
        /// The backup
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
    },
}

/// The YAML file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    listen: Option<SocketAddr>,
    data_dir: Option<PathBuf>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    stun_listen: Option<StunListen>,
    store: Option<StoreChoice>,
    allow_cluster: Vec<ClusterId>,
    trusted_proxy: Vec<IpNet>,
    lease: Option<Lease>,
    log: Option<String>,
    limits: Limits,
}

/// Where members are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreChoice {
    /// In the data directory, by this process alone.
    Embedded,
    /// In etcd, shared with other replicas; the addresses of its members.
    Etcd(Vec<Url>),
}

/// Where STUN is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StunListen {
    /// Nowhere.
    Off,
    /// At this address.
    At(SocketAddr),
}

/// A lease's duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease(pub Duration);

/// Everything a server needs to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// TCP address of the API.
    pub listen: SocketAddr,
    /// Directory of the store.
    pub data_dir: PathBuf,
    /// Certificate and key files.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Where members are kept.
    pub store: StoreChoice,
    /// Where STUN is answered; none: as `listen`.
    pub stun_listen: Option<StunListen>,
    /// The clusters served; empty for all.
    pub allow_clusters: Vec<ClusterId>,
    /// Networks of proxies whose headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Life of a lease.
    pub lease: Duration,
    /// Bounds.
    pub limits: Limits,
    /// Least time between two reports of a member.
    pub report_interval: Duration,
    /// Log filter.
    pub log: String,
}

/// What is wrong with the settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read the config file {path}: {message}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// The file cannot be understood.
    #[error("{path}: {message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What and where.
        message: String,
    },
    /// No data directory is given.
    #[error("no data directory is given: add --data-dir DIR, or data-dir to the config file")]
    DataDir,
    /// One of certificate and key is missing.
    #[error("tls-cert and tls-key belong together: give both or neither")]
    TlsPair,
    /// The lease is out of range.
    #[error("the lease must be between 1 s and 24 h")]
    Lease,
}

impl Settings {
    /// The settings of a server with this data directory and defaults for all else.
    #[must_use]
    pub fn new(data_dir: PathBuf) -> Self {
        Self {
            listen: DEFAULT_LISTEN.parse().expect("the default is an address"),
            data_dir,
            tls: None,
            store: StoreChoice::Embedded,
            stun_listen: None,
            allow_clusters: Vec::new(),
            trusted_proxies: Vec::new(),
            lease: DEFAULT_LEASE,
            limits: Limits::default(),
            report_interval: crate::limits::REPORT_INTERVAL,
            log: "info".to_owned(),
        }
    }

    /// Merges flags, the file they name, and defaults.
    ///
    /// # Errors
    /// [`SettingsError`], with what to do.
    pub fn resolve(flags: Flags) -> Result<Self, SettingsError> {
        let file = flags
            .config
            .as_deref()
            .map(File::read)
            .transpose()?
            .unwrap_or_default();
        let store = flags.store.or(file.store);
        let store = store.unwrap_or(StoreChoice::Embedded);
        let data_dir = match (flags.data_dir.or(file.data_dir), &store) {
            (Some(data_dir), _) => data_dir,
            (None, StoreChoice::Etcd(_)) => PathBuf::new(),
            (None, StoreChoice::Embedded) => return Err(SettingsError::DataDir),
        };
        let mut settings = Self::new(data_dir);
        settings.store = store;
        settings.listen = flags.listen.or(file.listen).unwrap_or(settings.listen);
        settings.tls = match (
            flags.tls_cert.or(file.tls_cert),
            flags.tls_key.or(file.tls_key),
        ) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(SettingsError::TlsPair),
        };
        settings.stun_listen = flags.stun_listen.or(file.stun_listen);
        settings.allow_clusters = file.allow_cluster;
        if !flags.allow_cluster.is_empty() {
            settings.allow_clusters = flags.allow_cluster;
        }
        settings.trusted_proxies = file.trusted_proxy;
        if !flags.trusted_proxy.is_empty() {
            settings.trusted_proxies = flags.trusted_proxy;
        }
        settings.lease = flags
            .lease
            .or(file.lease)
            .map_or(DEFAULT_LEASE, |lease| lease.0);
        if !LEASE_RANGE.contains(&settings.lease) {
            return Err(SettingsError::Lease);
        }
        settings.limits = file.limits;
        settings.log = flags.log.or(file.log).unwrap_or(settings.log);
        Ok(settings)
    }
}

impl File {
    fn read(path: &Path) -> Result<Self, SettingsError> {
        let unreadable = |message: String| SettingsError::Read {
            path: path.to_owned(),
            message,
        };
        let length = std::fs::metadata(path)
            .map_err(|error| unreadable(error.to_string()))?
            .len();
        if length > MAX_FILE_BYTES {
            return Err(unreadable(format!("{length} bytes are too many")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        // An empty file, or one of comments only, is a YAML null.
        serde_saphyr::from_str::<Option<Self>>(&text)
            .map(Option::unwrap_or_default)
            .map_err(|error| SettingsError::Parse {
                path: path.to_owned(),
                message: error.to_string(),
            })
    }
}

impl FromStr for StunListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let address = text.parse().map(Self::At);
        address.map_err(|_| format!("{text:?} is neither ADDRESS:PORT nor off"))
    }
}

impl FromStr for Lease {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (digits, seconds) = match text.strip_suffix('m') {
            Some(minutes) => (minutes, 60),
            None => (text.strip_suffix('s').unwrap_or(text), 1),
        };
        let count: Option<u64> = digits.parse().ok();
        let lease = count
            .and_then(|count| count.checked_mul(seconds))
            .map(Duration::from_secs);
        lease
            .filter(|lease| LEASE_RANGE.contains(lease))
            .map(Self)
            .ok_or_else(|| format!("{text:?} is not a duration from 1s to 1440m"))
    }
}

impl FromStr for StoreChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "embedded" {
            return Ok(Self::Embedded);
        }
        let bad = || format!("{text:?} is neither embedded nor etcd=http://HOST:PORT[,...]");
        let urls = text.strip_prefix("etcd=").ok_or_else(bad)?;
        let urls = urls.split(',').map(|url| {
            let url: Url = url.parse().map_err(|_| bad())?;
            let usable = matches!(url.scheme(), "http" | "https") && url.has_host();
            usable.then_some(url).ok_or_else(bad)
        });
        Ok(Self::Etcd(urls.collect::<Result<_, _>>()?))
    }
}

impl<'de> Deserialize<'de> for StoreChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

impl<'de> Deserialize<'de> for StunListen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

impl<'de> Deserialize<'de> for Lease {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

fn from_text<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(
    deserializer: D,
) -> Result<T, D::Error> {
    String::deserialize(deserializer)?
        .parse()
        .map_err(de::Error::custom)
}

/// True if `text` is a configuration file, whatever else is missing.
#[doc(hidden)]
#[must_use]
pub fn is_config(text: &str) -> bool {
    serde_saphyr::from_str::<Option<File>>(text).is_ok()
}

#[cfg(test)]
mod tests;
