//! A cluster of real etcd processes for tests, and whether there is etcd at all.

use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::client::PATIENCE;

/// Members of one etcd cluster; killed when dropped.
pub(crate) struct Etcd {
    members: Vec<Option<Child>>,
    clients: Vec<String>,
    _directory: TempDir,
}

impl Etcd {
    /// Three members on free ports, or nothing, said aloud, where etcd is not installed.
    pub(crate) async fn start() -> Option<Self> {
        if !is_installed() {
            return None;
        }
        let directory = TempDir::new().unwrap();
        let urls = |ports: Vec<u16>| {
            let urls = ports.iter().map(|port| format!("http://127.0.0.1:{port}"));
            urls.collect::<Vec<_>>()
        };
        let (clients, peers) = (urls(free_ports(3)), urls(free_ports(3)));
        let all: Vec<_> = peers
            .iter()
            .enumerate()
            .map(|(number, url)| format!("m{number}={url}"))
            .collect();
        let mut members = Vec::new();
        for (number, (client, peer)) in clients.iter().zip(&peers).enumerate() {
            let mut command = Command::new("etcd");
            command.args(["--name", &format!("m{number}")]);
            command
                .arg("--data-dir")
                .arg(directory.path().join(format!("m{number}")));
            command.args([
                "--listen-client-urls",
                client,
                "--advertise-client-urls",
                client,
            ]);
            command.args([
                "--listen-peer-urls",
                peer,
                "--initial-advertise-peer-urls",
                peer,
            ]);
            command.args([
                "--initial-cluster",
                &all.join(","),
                "--initial-cluster-state",
                "new",
            ]);
            command.args(["--heartbeat-interval", "50", "--election-timeout", "500"]);
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            members.push(Some(command.spawn().unwrap()));
        }
        let etcd = Self {
            members,
            clients,
            _directory: directory,
        };
        etcd.wait_until_healthy().await;
        Some(etcd)
    }

    /// For `--store`.
    pub(crate) fn store(&self) -> String {
        format!("etcd={}", self.clients.join(","))
    }

    /// SIGKILL for one member.
    pub(crate) fn kill(&mut self, number: usize) {
        if let Some(mut member) = self.members[number].take() {
            // It may have ended already.
            let _ = member.kill();
            let _ = member.wait();
        }
    }

    async fn wait_until_healthy(&self) {
        // Fails only if another test was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let start = Instant::now();
        for client in &self.clients {
            loop {
                let health = reqwest::get(format!("{client}/health")).await;
                let text = match health {
                    Ok(answer) => answer.text().await.unwrap_or_default(),
                    Err(error) => error.to_string(),
                };
                if text.contains("true") {
                    break;
                }
                assert!(start.elapsed() < PATIENCE, "etcd does not start: {text}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for number in 0..self.members.len() {
            self.kill(number);
        }
    }
}

/// Where skipping would hide something (`CI=true`) it panics instead.
fn is_installed() -> bool {
    if Command::new("etcd").arg("--version").output().is_ok() {
        return true;
    }
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "etcd is missing: install Debian's etcd-server"
    );
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED: etcd is not installed (Debian: etcd-server)"
    );
    false
}

/// Ports nobody uses at present.
fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<_> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let ports = listeners
        .iter()
        .map(|listener| listener.local_addr().unwrap().port());
    ports.collect()
}
