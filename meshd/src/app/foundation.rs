//! What everything else stands on: the cluster secret, the locked state directory, this node's keys.

use std::net::Ipv6Addr;

use mesh_proto::ClusterSecret;
use mesh_proto::mesh_address::mesh_address;
use mesh_proto::record::BackendKind;
use meshd_core::mesh::{NodeKeys, Start};
use meshd_core::network::NetworkState;
use meshd_core::persistent::PersistentState;
use meshd_core::{Action, Mesh, Settings};
use tokio::sync::watch;

use super::event_loop::now;
use super::failure::StartError;
use super::leftovers::Leftovers;
use crate::config::{self, Config};
use crate::engine::{Engine, EngineConfig, Offloads, kernel_device, remove_kernel_device};
use crate::linux::{Claim, Netlink, Ownership};
use crate::state::{self, DeviceRecord, StateDir};

/// MTU of the interface until the links have been read, a moment later: fits every underlay.
const FIRST_MTU: u32 = 1280;
/// Bit of `CAP_NET_ADMIN` in a capability set (linux/capability.h).
const CAP_NET_ADMIN: u32 = 12;

/// Secret, state directory and keys.
#[derive(Debug)]
pub(super) struct Foundation {
    pub(super) secret: ClusterSecret,
    pub(super) state: StateDir,
    pub(super) claim: Claim,
    keys: NodeKeys,
    cache: PersistentState,
    /// The kernel still has the device of the process before this one: its sessions go on, and so does
    /// their state id.
    pub(super) adopts: bool,
}

impl Foundation {
    /// Reads or makes everything; changes no network.
    pub(super) fn lay(config: &Config) -> Result<Self, StartError> {
        let cluster = &config.cluster;
        let secret =
            config::load_secret(&cluster.secret_file, cluster.id).map_err(StartError::Secret)?;
        if !has_net_admin() {
            return Err(StartError::Privileges);
        }
        let state = StateDir::open(&config.state_dir)?;
        let claim = Ownership::of(&config.to_settings()).claim()?;
        let keys = NodeKeys {
            identity: state.identity()?,
            wireguard: state.wireguard_key()?,
            state_id: state::fresh_state_id()?,
        };
        let loaded = state.load()?;
        if let Some(warning) = loaded.warning {
            tracing::warn!("{warning}");
        }
        let mut foundation = Self {
            secret,
            state,
            claim,
            keys,
            cache: loaded.state,
            adopts: false,
        };
        foundation.finish_rotation(config)?;
        foundation.adopt(config);
        Ok(foundation)
    }

    /// A rotation of the WireGuard key that was interrupted comes to its end: members may know the new key
    /// already, and the old one is in no record any more.
    fn finish_rotation(&mut self, config: &Config) -> Result<(), StartError> {
        let files = self.state.key_files();
        let Some(next) = files.next()? else {
            return Ok(());
        };
        // A device with the old key would be taken for somebody else's.
        remove_kernel_device(&self.engine_config(config));
        files.promote(&next)?;
        tracing::info!("the rotation of the WireGuard key that was interrupted is finished");
        self.keys.wireguard = next;
        Ok(())
    }

    /// This node's address inside the mesh.
    pub(super) fn mesh_address(&self) -> Ipv6Addr {
        let member = self.keys.identity.public_key().member_id();
        mesh_address(&self.secret.mesh_id(), &member)
    }

    pub(super) fn engine_config(&self, config: &Config) -> EngineConfig {
        EngineConfig {
            interface: config.wireguard.interface.clone(),
            mtu: config.wireguard.mtu.unwrap_or(FIRST_MTU),
            listen_port: config.wireguard.listen_port,
            mark: config.routing.mark,
            private_key: self.keys.wireguard.clone(),
            mesh_address: self.mesh_address(),
            peers_hint: self.cache.members.len(),
            offloads: Offloads::ALL,
        }
    }

    fn adopt(&mut self, config: &Config) {
        let settings = config.to_settings().wireguard;
        if settings.backend != BackendKind::Kernel {
            return;
        }
        let known = kernel_device(&self.engine_config(config)).and_then(|index| {
            self.state
                .device()?
                .sessions_of(index, settings.listen_port)
        });
        if let Some(state_id) = known {
            self.keys.state_id = state_id;
            self.adopts = true;
        }
    }

    /// Writes down whose sessions the kernel's device has now.
    pub(super) fn remember_device(&self, config: &Config) {
        let Some(index) = kernel_device(&self.engine_config(config)) else {
            return;
        };
        let port = config.wireguard.listen_port;
        let record = DeviceRecord::new(self.keys.state_id, index, port);
        if let Err(error) = self.state.save_device(&record) {
            tracing::warn!("a restart will cost the sessions: {error}");
        }
    }

    /// The mesh as it was when this node last ran.
    pub(super) fn mesh(&mut self, settings: Settings) -> Result<Mesh, StartError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| StartError::Random(error.to_string()))?;
        let start = Start {
            settings,
            secret: self.secret.clone(),
            keys: self.keys.clone(),
            cache: std::mem::take(&mut self.cache),
            seed,
        };
        Ok(Mesh::new(start, now()))
    }
}

/// Brings the kernel to the first state the mesh desires, before anything else happens: from here on
/// what belongs behind a tunnel is refused rather than sent in clear.
pub(super) async fn fail_closed(
    mesh: &mut Mesh,
    engine: &Engine,
    netlink: &Netlink,
) -> (watch::Sender<Option<NetworkState>>, Leftovers, Vec<Action>) {
    let (network, _) = watch::channel(None);
    let mut leftovers = match netlink.observe().await {
        Ok(observed) => Leftovers::of(observed),
        Err(error) => {
            tracing::warn!("what an earlier process left cannot be read: {error}");
            Leftovers::default()
        }
    };
    let mut later = Vec::new();
    while let Some(action) = mesh.poll_action() {
        match action {
            Action::ApplyNetwork(state) => {
                engine.set_mtu(state.mtu);
                network.send_replace(Some(leftovers.join(*state)));
            }
            Action::Engine(command) => engine.send(command),
            other => later.push(other),
        }
    }
    let first = network.borrow().clone();
    if let Some(first) = first {
        let report = netlink.reconcile(&first).await;
        for error in report.errors {
            tracing::warn!("first routes: {error}");
        }
    }
    (network, leftovers, later)
}

/// True if this process may change the network configuration of its namespace.
fn has_net_admin() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    // Where /proc says nothing, the kernel will.
    effective.is_none_or(|set| set >> CAP_NET_ADMIN & 1 == 1)
}
