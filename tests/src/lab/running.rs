//! A running lab: its networks, the cluster's secret, and the daemons.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::config;
use super::error::LabError;
use super::meshctl;
use super::namespace::{Namespace, checked};
use super::network::{DISCOVERY, Network};
use super::plan::{DISCOVERY_PORT, Node, Placement, Plan};
use super::process::Daemon;
use super::registry::RunDir;
use super::wait;

/// Longest a daemon may take to stop.
pub const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A lab. Dropping it ends every process, and with them every namespace, and removes its directory.
#[derive(Debug)]
pub struct Lab {
    /// What it was built from.
    pub plan: Plan,
    daemons: Mutex<BTreeMap<String, Daemon>>,
    network: Network,
    bin_dir: PathBuf,
    run: RunDir,
}

impl Lab {
    /// Builds the networks and the cluster's secret, and writes the configurations. Starts no daemon.
    ///
    /// # Errors
    /// If anything fails; what was built is removed.
    pub fn build(name: &str, plan: Plan, bin_dir: &Path) -> Result<Self, LabError> {
        let run = RunDir::create(name)?;
        let network = Network::build(&plan, bin_dir)?;
        let machines = network
            .machines()
            .map(|m| (m.name().to_owned(), m.pid()))
            .collect();
        run.write(name, bin_dir, machines)?;
        let lab = Self {
            plan,
            daemons: Mutex::default(),
            network,
            bin_dir: bin_dir.to_owned(),
            run,
        };
        let mut init = Command::new(bin_dir.join("meshctl"));
        init.args(["cluster", "init", "--dir"]).arg(lab.dir());
        let output = init
            .output()
            .map_err(LabError::io("run meshctl cluster init"))?;
        checked("meshctl cluster init", output)?;
        for node in lab.plan.nodes() {
            lab.configure(&node.name, &node.settings)?;
        }
        Ok(lab)
    }

    /// Directory with secrets, configurations, state and logs.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.run.path()
    }

    /// Directory of the programs under test.
    #[must_use]
    pub fn bin_dir(&self) -> &Path {
        &self.bin_dir
    }

    /// Directory of one node, or of the discovery server.
    #[must_use]
    pub fn machine_dir(&self, machine: &str) -> PathBuf {
        self.dir().join(machine)
    }

    /// The networks.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The machine of this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn machine(&self, name: &str) -> Result<&Namespace, LabError> {
        self.network.machine(name)
    }

    /// Leaves the directory behind, to be looked at.
    pub fn keep_files(&mut self) {
        self.run.keep();
    }

    /// Writes a node's configuration with `settings` merged over the generated one.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn configure(&self, name: &str, settings: &Value) -> Result<PathBuf, LabError> {
        let node = Node {
            settings: settings.clone(),
            ..self.plan.node(name)?.clone()
        };
        let dir = self.machine_dir(name);
        std::fs::create_dir_all(&dir).map_err(LabError::file("make", &dir))?;
        let secret = self.dir().join("cluster.secret");
        let config = config::node_config(&self.plan, &node, &secret, &dir.join("state"));
        let path = dir.join("meshd.yaml");
        config::write(&path, &config)?;
        Ok(path)
    }

    /// Starts the discovery server.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_discovery(&self) -> Result<(), LabError> {
        let machine = match &self.plan.discovery {
            Placement::Outside => self.machine(DISCOVERY)?,
            Placement::Node(name) => self.machine(name)?,
        };
        let dir = self.machine_dir(DISCOVERY);
        std::fs::create_dir_all(&dir).map_err(LabError::file("make", &dir))?;
        let mut command = machine.command("discovery-server");
        command
            .args([
                "--listen",
                &format!("0.0.0.0:{DISCOVERY_PORT}"),
                "--data-dir",
            ])
            .arg(dir.join("data"));
        self.spawn(DISCOVERY, command, &dir.join("discovery-server.log"))
    }

    /// Starts a node's meshd.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(&self, node: &str) -> Result<(), LabError> {
        let dir = self.machine_dir(node);
        let mut command = self.machine(node)?.command("meshd");
        command.arg("--config").arg(dir.join("meshd.yaml"));
        self.spawn(node, command, &dir.join("meshd.log"))
    }

    /// Starts the discovery server and every meshd.
    ///
    /// # Errors
    /// If one cannot be started.
    pub fn start_all(&self) -> Result<(), LabError> {
        self.start_discovery()?;
        self.plan
            .nodes()
            .try_for_each(|node| self.start(&node.name))
    }

    /// Sends a signal to the daemon of a node, or to [`DISCOVERY`].
    ///
    /// # Errors
    /// If it does not run.
    pub fn signal(&self, name: &str, signal: Signal) -> Result<(), LabError> {
        let daemons = self.daemons();
        let daemon = daemons.get(name).ok_or_else(|| not_running(name))?;
        daemon.signal(signal)
    }

    /// SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    /// If it does not run.
    pub fn kill(&self, name: &str) -> Result<(), LabError> {
        let daemon = self
            .daemons()
            .remove(name)
            .ok_or_else(|| not_running(name))?;
        daemon.kill();
        Ok(())
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// If it does not run, or does not end within [`STOP_LIMIT`].
    pub fn stop(&self, name: &str) -> Result<ExitStatus, LabError> {
        let daemon = self
            .daemons()
            .remove(name)
            .ok_or_else(|| not_running(name))?;
        daemon.stop(STOP_LIMIT)
    }

    /// Waits for a daemon to end by itself.
    ///
    /// # Errors
    /// If it does not run, or not end in time.
    pub fn wait_end(&self, name: &str, limit: Duration) -> Result<ExitStatus, LabError> {
        let mut daemon = self
            .daemons()
            .remove(name)
            .ok_or_else(|| not_running(name))?;
        daemon.wait(limit)
    }

    /// Daemons that ended although nobody told them to, each with its last words.
    #[must_use]
    pub fn ended(&self) -> Vec<String> {
        let mut daemons = self.daemons();
        let ended = daemons.iter_mut().filter_map(|(name, daemon)| {
            let status = daemon.ended().ok().flatten()?;
            Some(format!("{name} ({status}): {}", self.last_words(name)))
        });
        ended.collect()
    }

    /// Waits until every node in `names` has a tunnel that is up to every node of other zones in
    /// `names`, with the other's networks routed to it. Returns how long it took.
    ///
    /// # Errors
    /// If that does not come true in time, naming what is missing, or if a daemon ends meanwhile.
    pub fn wait_tunnels(&self, names: &[&str], limit: Duration) -> Result<Duration, LabError> {
        let (formed, took) = wait::until("tunnels between all zones", limit, || {
            if let Some(ended) = self.ended().first() {
                return Ok(Err(LabError::Unusable(format!("a daemon ended: {ended}"))));
            }
            let missing: Vec<_> = names
                .iter()
                .flat_map(|name| self.missing(name, names))
                .collect();
            match missing.first() {
                None => Ok(Ok(())),
                Some(first) => Err(format!("{} are not up, e.g. {first}", missing.len())),
            }
        })?;
        formed?;
        Ok(took)
    }

    /// Tunnels that node `name` should have to `others` and has not.
    fn missing(&self, name: &str, others: &[&str]) -> Vec<String> {
        let Ok(node) = self.plan.node(name) else {
            return vec![format!("{name} is no node")];
        };
        let expected: BTreeSet<&str> = self
            .plan
            .nodes()
            .filter(|other| other.zone != node.zone && others.contains(&other.name.as_str()))
            .map(|other| other.name.as_str())
            .collect();
        let wanted = |peer: &str| {
            self.plan
                .node(peer)
                .map(routed_prefixes)
                .unwrap_or_default()
        };
        match self
            .machine(name)
            .and_then(|machine| meshctl::up_peers(machine, wanted))
        {
            Ok(up) => expected
                .into_iter()
                .filter(|other| !up.contains(*other))
                .map(|other| format!("{name} -> {other}"))
                .collect(),
            Err(error) => vec![error.to_string()],
        }
    }

    fn last_words(&self, name: &str) -> String {
        let dir = self.machine_dir(name);
        let logs = ["meshd.log", "discovery-server.log"].map(|file| dir.join(file));
        let text = logs
            .iter()
            .find_map(|log| std::fs::read_to_string(log).ok())
            .unwrap_or_default();
        text.lines()
            .next_back()
            .unwrap_or("it said nothing")
            .to_owned()
    }

    fn spawn(&self, name: &str, mut command: Command, log: &Path) -> Result<(), LabError> {
        let file: File = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .map_err(LabError::file("open", log))?;
        let errors = file.try_clone().map_err(LabError::file("open", log))?;
        command.stdin(Stdio::null()).stdout(file).stderr(errors);
        let daemon = Daemon::spawn(name, command)?;
        self.daemons().insert(name.to_owned(), daemon);
        Ok(())
    }

    fn daemons(&self) -> MutexGuard<'_, BTreeMap<String, Daemon>> {
        self.daemons
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

/// What other zones route to a node.
fn routed_prefixes(node: &Node) -> Vec<IpNet> {
    let host = IpNet::V4(Ipv4Net::from(node.address));
    vec![host, IpNet::V4(node.pods)]
}

fn not_running(name: &str) -> LabError {
    LabError::Unusable(format!("the daemon of {name} does not run"))
}
