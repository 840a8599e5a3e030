//! One real daemon with many stock WireGuard peers: how long until all tunnels are up, and what the daemon
//! then costs. The lab plays the peers: they answer handshakes and send nothing themselves.

mod responders;

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::report::Run;
use super::star::{DISCOVERY_ADDRESS, Star};
use super::usage::Usage;
use super::{REST, WATCH, open_files};
use crate::lab::namespace::checked;
use crate::lab::process::{Daemon, logged};
use crate::lab::registry::RunDir;
use crate::lab::{LabError, config, meshctl, wait};
use responders::{FIRST_PORT, Responders, public_key};

/// Sockets and pipes of this program besides those of the peers.
const SPARE_FILES: u64 = 200;
/// How long all handshakes may take.
const UP_LIMIT: Duration = Duration::from_secs(120);

/// Starts the daemon with `count` peers and watches it idle, all sessions alive.
///
/// # Errors
/// If anything cannot be started, or not all tunnels come up.
pub fn run(name: &str, count: u16, bin_dir: &Path, note: &dyn Fn(&str)) -> Result<Run, LabError> {
    open_files::allow(u64::from(count) + SPARE_FILES)?;
    let mut run = RunDir::create(name)?;
    run.write(name, bin_dir, BTreeMap::new())?;
    let star = Star::build(1, bin_dir)?;
    let result = measure(&star, run.path(), count, bin_dir, note);
    if result.is_err() {
        run.keep();
        note(&format!(
            "logs, until the next run: {}",
            run.path().display()
        ));
    }
    result
}

fn measure(
    star: &Star,
    dir: &Path,
    count: u16,
    bin_dir: &Path,
    note: &dyn Fn(&str),
) -> Result<Run, LabError> {
    let daemon = start(star, dir, count, bin_dir)?;
    let began = Instant::now();
    let node = &star.nodes()[0];
    wait::until("meshd to answer", UP_LIMIT, || {
        meshctl::status(node)
            .map(drop)
            .map_err(|error| error.to_string())
    })?;
    let status = meshctl::status(node)?;
    let _responders = Responders::start(star.router(), gateway(star), status.public_key, count)?;
    note(&format!("{count} peers answer"));
    wait::until("all tunnels", UP_LIMIT, || {
        let status = meshctl::status(node).map_err(|error| error.to_string())?;
        let all = status.peers_up == usize::from(count);
        all.then_some(())
            .ok_or_else(|| format!("{} up", status.peers_up))
    })?;
    let took = began.elapsed();
    note(&format!("all up after {:.1} s", took.as_secs_f64()));
    thread::sleep(REST);
    let before = Usage::of(&[daemon.pid()])?;
    let start = Instant::now();
    thread::sleep(WATCH);
    let after = Usage::of(&[daemon.pid()])?;
    let idle_cpu = after.share_since(&before, start.elapsed());
    Ok(Run {
        kind: "peers",
        members: usize::from(count),
        join_ms: vec![(took.as_secs_f64() * 1000.0).round()],
        rss_bytes_per_member: after.mean_rss(),
        idle_cpu,
        server: None,
    })
}

/// The router's address on the only node's link.
fn gateway(star: &Star) -> std::net::Ipv4Addr {
    std::net::Ipv4Addr::from_bits(star.address(0).to_bits() - 1)
}

fn start(star: &Star, dir: &Path, count: u16, bin_dir: &Path) -> Result<Daemon, LabError> {
    let mut init = std::process::Command::new(bin_dir.join("meshctl"));
    let output = init.args(["cluster", "init", "--dir"]).arg(dir).output();
    let output = output.map_err(LabError::io("run meshctl cluster init"))?;
    checked("meshctl cluster init", output)?;
    let gateway = gateway(star);
    let peers: Vec<Value> = (0..count)
        .map(|number| {
            let [high, low] = number.to_be_bytes();
            json!({
                "name": format!("p{number}"),
                "publicKey": public_key(number).to_string(),
                "allowedIPs": [format!("10.{}.{low}.0/24", 100 + u16::from(high))],
                "endpoint": format!("{gateway}:{}", FIRST_PORT + number),
            })
        })
        .collect();
    let document = json!({
        "cluster": { "secretFile": dir.join("cluster.secret") },
        "node": { "name": "n0" },
        // Nobody is there: stock peers need no discovery.
        "discovery": { "servers": [format!("http://{DISCOVERY_ADDRESS}:7400")] },
        "externalPeers": peers,
        "stateDir": dir.join("state"),
    });
    let file = dir.join("meshd.yaml");
    config::write(&file, &document)?;
    let mut command = star.nodes()[0].command("meshd");
    command.arg("--config").arg(file);
    Daemon::spawn("meshd", logged(command, &dir.join("meshd.log"))?)
}
