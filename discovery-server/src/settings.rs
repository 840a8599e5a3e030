//! Settings: command line flags over a YAML file over defaults. Parsing only; nothing is opened here
//! but the file itself.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Parser;
use mesh_proto::ClusterId;
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
#[command(name = "discovery-server", version)]
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
    /// Serve this cluster only (repeatable); without it the server serves any
    #[arg(long, value_name = "ID")]
    pub allow_cluster: Vec<ClusterId>,
    /// YAML file with the same keys, and `limits`; flags win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How long a lease lasts: 300, 300s or 5m [default: 5m]
    #[arg(long, value_name = "DURATION")]
    pub lease: Option<Lease>,
    /// Log filter, for example debug or discovery_server=trace [default: info]
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
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
    allow_cluster: Vec<ClusterId>,
    lease: Option<Lease>,
    log: Option<String>,
    limits: Limits,
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
    /// Where STUN is answered; none: as `listen`.
    pub stun_listen: Option<StunListen>,
    /// The clusters served; empty for all.
    pub allow_clusters: Vec<ClusterId>,
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
            stun_listen: None,
            allow_clusters: Vec::new(),
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
        let data_dir = flags
            .data_dir
            .or(file.data_dir)
            .ok_or(SettingsError::DataDir)?;
        let mut settings = Self::new(data_dir);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(args: &[&str], yaml: Option<&str>) -> Result<Settings, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut args: Vec<_> = [&["discovery-server"], args].concat();
        if let Some(yaml) = yaml {
            std::fs::write(file.path(), yaml).unwrap();
            args.extend(["--config", file.path().to_str().unwrap()]);
        }
        let flags = Flags::try_parse_from(args).map_err(|error| error.to_string())?;
        Settings::resolve(flags).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let yaml = "data-dir: /a\nlisten: '[::]:1'\nlease: 10s\nlimits:\n  clusters: 3\n";
        let settings = resolve(&["--lease", "2m"], Some(yaml)).unwrap();
        assert_eq!(settings.data_dir, Path::new("/a"));
        assert_eq!(settings.listen, "[::]:1".parse().unwrap());
        assert_eq!(settings.lease, Duration::from_secs(120));
        assert_eq!(settings.limits.clusters, 3);
        assert_eq!(settings.limits.members_per_cluster, 20_000);
        let settings = resolve(&["--data-dir", "/b", "--stun-listen", "off"], None).unwrap();
        assert_eq!(settings.stun_listen, Some(StunListen::Off));
        assert_eq!(settings.lease, Duration::from_secs(300));
        assert!(resolve(&["--data-dir", "/b"], Some("# nothing\n")).is_ok());
    }

    #[test]
    fn mistakes_are_named() {
        for (args, yaml, part) in [
            (&[][..], None, "--data-dir"),
            (&["--data-dir", "/x", "--tls-cert", "/c"], None, "--tls-key"),
            (
                &["--data-dir", "/x"],
                Some("tls-key: /k\n"),
                "both or neither",
            ),
            (&["--data-dir", "/x"], Some("lisen: 0.0.0.0:1\n"), "lisen"),
            (&["--data-dir", "/x"], Some("listen: 7400\n"), "listen"),
            (&["--data-dir", "/x"], Some("lease: 0s\n"), "not a duration"),
            (
                &["--data-dir", "/x"],
                Some("limits: {members: 3}\n"),
                "members",
            ),
            (&["--data-dir", "/x", "--lease", "25h"], None, "25h"),
            (
                &["--data-dir", "/x", "--allow-cluster", "ab"],
                None,
                "64 hex",
            ),
            (&["--config", "/does/not/exist"], None, "/does/not/exist"),
        ] {
            let error = resolve(args, yaml).unwrap_err();
            assert!(error.contains(part), "{args:?} {yaml:?}: {error}");
        }
    }
}
