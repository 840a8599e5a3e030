//! What is measured: how each implementation is started, configured and stopped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use mesh_proto::WgPrivateKey;
use serde_json::json;

use super::Options;
use super::rig::{self, Rig};
use super::tools::Tools;
use crate::lab::namespace::{Namespace, checked};
use crate::lab::process::Daemon;
use crate::lab::{LabError, config, wait};

/// Interface of implementations other than meshd.
const INTERFACE: &str = "wg0";
const PORT: u16 = 51820;
const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(10);
const DISCOVERY: &str = "192.0.2.2:7400";

/// One implementation.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    /// As in the report.
    pub(super) name: String,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    /// Two real daemons and a discovery server; in one zone there is no tunnel.
    Meshd { bin_dir: PathBuf, one_zone: bool },
    /// A program that wg(8) configures.
    Stock {
        program: PathBuf,
        arguments: Vec<&'static str>,
        variables: Vec<(&'static str, &'static str)>,
    },
    /// No tunnel at all.
    Bare,
}

/// An implementation at work on both ends.
#[derive(Debug)]
pub(super) struct Running {
    daemons: Vec<Daemon>,
    /// Not counted as part of the implementation.
    others: Vec<Daemon>,
    /// Where to send to.
    pub(super) target: String,
    /// Where to send from.
    pub(super) source: String,
}

/// All implementations there are, in the order of their turns.
pub(super) fn all(bin_dir: &Path, tools: &Tools, options: &Options) -> Vec<Subject> {
    let meshd = |bin_dir: &Path, one_zone| Kind::Meshd {
        bin_dir: bin_dir.to_owned(),
        one_zone,
    };
    let stock = |program: &Path, arguments: &[&'static str], variables: &[_]| Kind::Stock {
        program: program.to_owned(),
        arguments: arguments.to_vec(),
        variables: variables.to_vec(),
    };
    let mut kinds = vec![("meshd".to_owned(), meshd(bin_dir, false))];
    for (name, dir) in &options.builds {
        kinds.push((name.clone(), meshd(dir, false)));
    }
    let in_foreground: &[_] = &["-f", "--disable-drop-privileges"];
    if let Some(program) = &tools.boringtun {
        kinds.push(("boringtun".to_owned(), stock(program, in_foreground, &[])));
        let one = &[("WG_THREADS", "1")];
        kinds.push(("boringtun-1".to_owned(), stock(program, in_foreground, one)));
    }
    if let Some(program) = &tools.gotatun {
        kinds.push(("gotatun".to_owned(), stock(program, in_foreground, &[])));
    }
    if let Some(program) = &tools.wireguard_go {
        kinds.push(("wireguard-go".to_owned(), stock(program, &["-f"], &[])));
    }
    for (name, program) in &options.extra {
        kinds.push((name.clone(), stock(program, &["-f"], &[])));
    }
    kinds.push(("native".to_owned(), meshd(bin_dir, true)));
    kinds.push(("veth".to_owned(), Kind::Bare));
    let only = &options.only;
    let wanted = |name: &String| only.is_empty() || only.contains(name);
    let subjects = kinds.into_iter().map(|(name, kind)| Subject { name, kind });
    subjects.filter(|subject| wanted(&subject.name)).collect()
}

impl Subject {
    /// Starts it on both ends and waits until packets pass.
    pub(super) fn start(&self, rig: &Rig) -> Result<Running, LabError> {
        let running = match &self.kind {
            Kind::Meshd { bin_dir, one_zone } => start_meshd(rig, bin_dir, *one_zone)?,
            Kind::Stock {
                program,
                arguments,
                variables,
            } => start_stock(rig, program, arguments, variables)?,
            Kind::Bare => Running::between(rig::outer(1), rig::outer(2)),
        };
        let target = &running.target;
        let ping = ["-c", "1", "-W", "1", "-I", &running.source, target];
        let carries = wait::until(
            &format!("{} to carry packets", self.name),
            START_LIMIT,
            || {
                let answer = rig.left.run("ping", &ping);
                answer.map_err(|error| error.to_string())
            },
        );
        match carries {
            Ok(_) => Ok(running),
            Err(error) => {
                running.stop();
                Err(error)
            }
        }
    }
}

impl Running {
    fn between(source: String, target: String) -> Self {
        Self {
            daemons: Vec::new(),
            others: Vec::new(),
            target,
            source,
        }
    }

    /// Processes of the implementation.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.daemons.iter().map(Daemon::pid).collect()
    }

    /// Stops it; what it made is gone afterwards.
    pub(super) fn stop(self) {
        for daemon in self.daemons.into_iter().chain(self.others) {
            // One that does not hear is killed.
            let _ = daemon.stop(STOP_LIMIT);
        }
    }
}

fn start_stock(
    rig: &Rig,
    program: &Path,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Result<Running, LabError> {
    let mut running = Running::between(rig::inner(1), rig::inner(2));
    for (number, end) in rig.ends() {
        let mut command = end.command(&program.to_string_lossy());
        command.args(arguments).arg(INTERFACE);
        command.envs(variables.iter().copied()).env("WG_SUDO", "1");
        running
            .daemons
            .push(spawn(command, &rig.dir.path().join("stock.log"))?);
        wait::until("the wg(8) socket", START_LIMIT, || {
            let result = end.run("wg", &["show", INTERFACE]);
            result.map_err(|error| error.to_string())
        })?;
        configure_stock(rig, number, end)?;
    }
    Ok(running)
}

fn configure_stock(rig: &Rig, number: u8, end: &Namespace) -> Result<(), LabError> {
    let other = 3 - number;
    let private = |number: u8| WgPrivateKey::from_bytes([number; 32]);
    let path = rig.dir.path().join(format!("key-{number}"));
    fs::write(&path, private(number).expose_base64().as_bytes())
        .map_err(LabError::file("write", &path))?;
    let (key, network) = (private(other).public_key(), rig::network(other));
    let (path, outer, inner) = (path.display(), rig::outer(other), rig::inner(number));
    end.script(&format!(
        "wg set {INTERFACE} listen-port {PORT} private-key {path} \
         peer {key} allowed-ips {network} endpoint {outer}:{PORT}\n\
         ip link set {INTERFACE} mtu 1420 up\n\
         ip route replace {network} dev {INTERFACE} src {inner}\n"
    ))?;
    Ok(())
}

fn start_meshd(rig: &Rig, bin_dir: &Path, one_zone: bool) -> Result<Running, LabError> {
    let (source, target) = if one_zone {
        (rig::outer(1), rig::outer(2))
    } else {
        (rig::inner(1), rig::inner(2))
    };
    let mut running = Running::between(source, target);
    let dir = tempfile::tempdir_in(rig.dir.path()).map_err(LabError::io("make a directory"))?;
    // Removed with the rig: the daemons need it until they have stopped.
    let dir = dir.keep();
    let program = |name: &str| bin_dir.join(name).to_string_lossy().into_owned();
    let mut init = Command::new(program("meshctl"));
    init.args(["cluster", "init", "--dir"]).arg(&dir);
    let output = init
        .output()
        .map_err(LabError::io("run meshctl cluster init"))?;
    checked("meshctl cluster init", output)?;
    let mut server = rig.right.command(&program("discovery-server"));
    server
        .args(["--listen", DISCOVERY, "--data-dir"])
        .arg(dir.join("discovery"));
    running
        .others
        .push(spawn(server, &dir.join("discovery.log"))?);
    for (number, end) in rig.ends() {
        let zone = if one_zone { 1 } else { number };
        let state = dir.join(format!("state-{number}"));
        let settings = json!({
            "cluster": { "secretFile": dir.join("cluster.secret") },
            "node": { "name": format!("n{number}"), "zone": format!("z{zone}") },
            "discovery": { "servers": [format!("http://{DISCOVERY}")] },
            "networks": { "advertise": [rig::network(number)] },
            "stateDir": state,
        });
        let path = dir.join(format!("meshd-{number}.yaml"));
        config::write(&path, &settings)?;
        let mut command = end.command(&program("meshd"));
        command.arg("--config").arg(&path);
        let log = dir.join(format!("meshd-{number}.log"));
        running.daemons.push(spawn(command, &log)?);
    }
    if one_zone {
        wait_for_neighbour(rig)?;
    }
    Ok(running)
}

/// In one zone packets pass anyway: the daemons must have met before that means anything.
fn wait_for_neighbour(rig: &Rig) -> Result<(), LabError> {
    wait::until("both daemons to know each other", START_LIMIT, || {
        let topology = rig.left.run("meshctl", &["topology", "--format", "json"]);
        let text = topology.map_err(|error| error.to_string())?;
        if text.contains("\"native\"") {
            Ok(())
        } else {
            Err(text)
        }
    })?;
    Ok(())
}

fn spawn(mut command: Command, log: &Path) -> Result<Daemon, LabError> {
    let file = fs::File::create(log).map_err(LabError::file("make", log))?;
    let copy = file.try_clone().map_err(LabError::file("use", log))?;
    command.stdin(Stdio::null()).stdout(file).stderr(copy);
    Daemon::spawn(&log.display().to_string(), command)
}
