//! The real daemons on the nodes of a star: starts, stops and asks them. Measures nothing.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use super::star::{DISCOVERY_ADDRESS, RANGE, Star};
use crate::lab::namespace::checked;
use crate::lab::process::{Daemon, logged};
use crate::lab::registry::RunDir;
use crate::lab::{LabError, config, meshctl, wait};

const DISCOVERY_PORT: u16 = 7400;
/// How long the residents may take, each: many start on few cores.
const START_LIMIT_EACH: Duration = Duration::from_secs(3);
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// A mesh of real daemons with room for one more node. Dropping it ends everything.
#[derive(Debug)]
pub struct RunningMesh {
    // Daemons end before their machines.
    joiner: Option<Daemon>,
    residents: Vec<Daemon>,
    server: Option<Daemon>,
    star: Star,
    run: RunDir,
}

impl RunningMesh {
    /// Builds the machines and starts the discovery server.
    ///
    /// # Errors
    /// If anything fails; what was built is removed.
    pub fn build(name: &str, nodes: usize, bin_dir: &Path) -> Result<Self, LabError> {
        let run = RunDir::create(name)?;
        let star = Star::build(nodes, bin_dir)?;
        let machines = star.nodes().iter().chain([star.router()]);
        let machines = machines.map(|machine| (machine.name().to_owned(), machine.pid()));
        run.write(name, bin_dir, machines.collect())?;
        let mut mesh = Self {
            joiner: None,
            residents: Vec::new(),
            server: None,
            star,
            run,
        };
        let mut init = Command::new(bin_dir.join("meshctl"));
        init.args(["cluster", "init", "--dir"]).arg(mesh.dir());
        let output = init.output();
        let output = output.map_err(LabError::io("run meshctl cluster init"))?;
        checked("meshctl cluster init", output)?;
        let mut command = mesh.star.router().command("discovery-server");
        command.args(["--listen", &format!("0.0.0.0:{DISCOVERY_PORT}")]);
        command.arg("--data-dir").arg(mesh.dir().join("discovery"));
        let command = logged(command, &mesh.dir().join("discovery-server.log"))?;
        mesh.server = Some(Daemon::spawn("the discovery server", command)?);
        Ok(mesh)
    }

    /// Starts every node but the last, and waits until all their tunnels are up; how long that took.
    ///
    /// # Errors
    /// If a daemon cannot be started or tunnels do not come up.
    pub fn start_residents(&mut self) -> Result<Duration, LabError> {
        let start = Instant::now();
        let count = self.star.nodes().len() - 1;
        for number in 0..count {
            let daemon = self.start(number)?;
            self.residents.push(daemon);
        }
        let each = u32::try_from(count).unwrap_or(u32::MAX);
        for node in &self.star.nodes()[..count] {
            wait::until("all tunnels", START_LIMIT_EACH * each.max(10), || {
                let status = meshctl::status(node).map_err(|error| error.to_string())?;
                let up = status.peers_up;
                let all = up + 1 == count && status.peers_down == 0;
                all.then_some(())
                    .ok_or_else(|| format!("{}: {up} of {} up", node.name(), count - 1))
            })?;
        }
        Ok(start.elapsed())
    }

    /// Starts the last node with a new identity; when it was executed.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_joiner(&mut self) -> Result<Instant, LabError> {
        let number = self.star.nodes().len() - 1;
        let dir = self.dir().join(format!("n{number}"));
        match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(LabError::file("remove", &dir)(error));
            }
            _ => {}
        }
        let command = self.prepare(number)?;
        let start = Instant::now();
        self.joiner = Some(Daemon::spawn("the joining node", command)?);
        Ok(start)
    }

    /// Lets the last node leave for good, and waits until the first one has forgotten it.
    ///
    /// # Errors
    /// If it does not leave.
    pub fn end_joiner(&mut self) -> Result<(), LabError> {
        let Some(mut joiner) = self.joiner.take() else {
            return Ok(());
        };
        let (node, count) = (self.star.nodes().last(), self.star.nodes().len());
        if let Some(node) = node {
            node.run("meshctl", &["leave", "--yes"])?;
        }
        joiner.wait(STOP_LIMIT)?;
        for node in &self.star.nodes()[..count - 1] {
            wait::until("the leave to be known", STOP_LIMIT, || {
                let status = meshctl::status(node).map_err(|error| error.to_string())?;
                let peers = status.peers_up + status.peers_down;
                (peers + 2 == count)
                    .then_some(())
                    .ok_or_else(|| format!("{} has {peers} peers", node.name()))
            })?;
        }
        Ok(())
    }

    /// The machines.
    #[must_use]
    pub const fn star(&self) -> &Star {
        &self.star
    }

    /// Process ids of the daemons that stay.
    #[must_use]
    pub fn resident_pids(&self) -> Vec<u32> {
        self.residents.iter().map(Daemon::pid).collect()
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

    fn start(&self, number: usize) -> Result<Daemon, LabError> {
        Daemon::spawn(&format!("n{number}"), self.prepare(number)?)
    }

    fn prepare(&self, number: usize) -> Result<Command, LabError> {
        let dir = self.dir().join(format!("n{number}"));
        std::fs::create_dir_all(&dir).map_err(LabError::file("make", &dir))?;
        let server = SocketAddr::from((DISCOVERY_ADDRESS, DISCOVERY_PORT));
        let document = json!({
            "cluster": { "secretFile": self.dir().join("cluster.secret") },
            // Without a zone each node is one of its own: tunnels between all pairs.
            "node": { "name": format!("n{number}") },
            "discovery": { "servers": [format!("http://{server}")] },
            "networks": { "protected": [RANGE] },
            "stateDir": dir.join("state"),
        });
        let file = dir.join("meshd.yaml");
        config::write(&file, &document)?;
        let mut command = self.star.nodes()[number].command("meshd");
        command.arg("--config").arg(file);
        logged(command, &dir.join("meshd.log"))
    }
}
