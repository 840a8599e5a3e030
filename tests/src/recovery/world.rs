//! The pair of nodes with the real daemons on it: starts, kills and asks them. Knows no scenario.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use mesh_proto::control::{Events, Peer};
use serde_json::json;

use super::net::{DISCOVERY_ADDRESS, DualNet, Side, WIREGUARD_PORT, Way};
use crate::lab::namespace::checked;
use crate::lab::process::{Daemon, logged};
use crate::lab::registry::RunDir;
use crate::lab::{LabError, config, meshctl, wait};

const DISCOVERY_PORT: u16 = 7400;
/// How long the tunnel may take to come up in the beginning.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Which clock a daemon sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The machine's.
    Right,
    /// An hour back.
    HourBehind,
}

/// Two nodes and a discovery server that run. Dropping it ends everything.
#[derive(Debug)]
pub struct World {
    /// The machines.
    pub net: DualNet,
    nodes: [Option<Daemon>; 2],
    server: Option<Daemon>,
    run: RunDir,
}

impl World {
    /// Builds the machines, starts the daemons and waits for the tunnel.
    ///
    /// # Errors
    /// If anything fails; what was built is removed.
    pub fn start(name: &str, bin_dir: &Path) -> Result<Self, LabError> {
        let run = RunDir::create(name)?;
        let net = DualNet::build(bin_dir)?;
        let machines = net
            .machines()
            .map(|machine| (machine.name().to_owned(), machine.pid()))
            .collect();
        run.write(name, bin_dir, machines)?;
        let mut world = Self {
            net,
            nodes: [None, None],
            server: None,
            run,
        };
        let mut init = Command::new(bin_dir.join("meshctl"));
        init.args(["cluster", "init", "--dir"]).arg(world.dir());
        let output = init.output();
        let output = output.map_err(LabError::io("run meshctl cluster init"))?;
        checked("meshctl cluster init", output)?;
        world.start_discovery()?;
        for side in Side::ALL {
            world.configure(side)?;
            world.start_node(side, Clock::Right)?;
        }
        wait::until("the tunnel", START_LIMIT, || {
            world.ways().map_err(|error| error.to_string())
        })?;
        Ok(world)
    }

    /// Directory with configurations, state and logs.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.run.path()
    }

    /// Leaves the directory behind, to be looked at.
    pub fn keep_files(&mut self) {
        self.run.keep();
    }

    /// Starts a node's daemon; returns when it was executed.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_node(&mut self, side: Side, clock: Clock) -> Result<Instant, LabError> {
        let dir = self.dir().join(side.name());
        let mut command = self.net.node(side).command("meshd");
        command.arg("--config").arg(dir.join("meshd.yaml"));
        if clock == Clock::HourBehind {
            // Only the wall clock: no machine's monotonic clock goes back.
            command
                .env("LD_PRELOAD", fake_clock()?)
                .env("FAKETIME", "-1h")
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
                .env("FAKETIME_DONT_RESET", "1");
        }
        let command = logged(command, &dir.join("meshd.log"))?;
        let start = Instant::now();
        self.nodes[side as usize] = Some(Daemon::spawn(side.name(), command)?);
        Ok(start)
    }

    /// SIGKILL to a node's daemon, and waits until it is gone.
    pub fn kill_node(&mut self, side: Side) {
        self.nodes[side as usize] = None;
    }

    /// Starts the discovery server.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_discovery(&mut self) -> Result<(), LabError> {
        let dir = self.dir().join("discovery");
        std::fs::create_dir_all(&dir).map_err(LabError::file("make", &dir))?;
        let mut command = self.net.discovery().command("discovery-server");
        command.args(["--listen", &format!("0.0.0.0:{DISCOVERY_PORT}")]);
        command.arg("--data-dir").arg(dir.join("data"));
        let command = logged(command, &dir.join("discovery-server.log"))?;
        self.server = Some(Daemon::spawn("the discovery server", command)?);
        Ok(())
    }

    /// SIGKILL to the discovery server.
    pub fn kill_discovery(&mut self) {
        self.server = None;
    }

    /// The way each node sends by.
    ///
    /// # Errors
    /// If a tunnel is not up, in words.
    pub fn ways(&self) -> Result<[Way; 2], LabError> {
        Ok([self.way(Side::A)?, self.way(Side::B)?])
    }

    /// Events of a node after the one of this number.
    ///
    /// # Errors
    /// If the daemon does not answer.
    pub fn events(&self, side: Side, after: u64) -> Result<Events, LabError> {
        let mut events: Events = meshctl::query(self.net.node(side), &["events"])?;
        events.events.retain(|event| event.number > after);
        Ok(events)
    }

    /// What a node says of the other one.
    ///
    /// # Errors
    /// If the daemon does not answer or does not know it.
    pub fn peer(&self, side: Side) -> Result<Peer, LabError> {
        let mut peers = meshctl::peers(self.net.node(side))?.peers;
        peers.pop().ok_or_else(|| unusable(side, "knows no peer"))
    }

    fn way(&self, side: Side) -> Result<Way, LabError> {
        let peer = self.peer(side)?;
        let way = match peer.endpoint {
            Some(std::net::SocketAddr::V4(endpoint)) => Way::to(*endpoint.ip()),
            _ => None,
        };
        if peer.state != mesh_proto::control::PeerState::Up {
            return Err(unusable(side, &format!("calls its peer {}", peer.state)));
        }
        way.ok_or_else(|| unusable(side, &format!("sends to {:?}", peer.endpoint)))
    }

    fn configure(&self, side: Side) -> Result<(), LabError> {
        let dir = self.dir().join(side.name());
        std::fs::create_dir_all(&dir).map_err(LabError::file("make", &dir))?;
        let document = json!({
            "cluster": { "secretFile": self.dir().join("cluster.secret") },
            "node": { "name": side.name(), "zone": format!("zone-{}", side.name()) },
            "discovery": { "servers": [format!("http://{DISCOVERY_ADDRESS}:{DISCOVERY_PORT}")] },
            "wireguard": { "listenPort": WIREGUARD_PORT },
            // A new address of the other node is not native before it is known to be in the mesh.
            "networks": { "protected": [side.other().range()] },
            "stateDir": dir.join("state"),
        });
        config::write(&dir.join("meshd.yaml"), &document)
    }
}

fn unusable(side: Side, what: &str) -> LabError {
    LabError::Unusable(format!("{} {what}", side.name()))
}

/// The library that shifts a process's clock, from Debian's package `libfaketime`.
fn fake_clock() -> Result<PathBuf, LabError> {
    const NAME: &str = "faketime/libfaketime.so.1";
    let dirs = std::fs::read_dir("/usr/lib")
        .into_iter()
        .flatten()
        .flatten();
    let mut paths = dirs.map(|dir| dir.path().join(NAME));
    paths.find(|path| path.is_file()).ok_or_else(|| {
        LabError::Unusable(format!(
            "{NAME} is missing: install Debian's package libfaketime"
        ))
    })
}
