//! A node: the real core, its engine, its disk and its clocks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use mesh_proto::mesh_address::mesh_address;
use mesh_proto::record::{BackendKind, TopologyMode};
use mesh_proto::{
    ClusterSecret, IdentityKey, MemberId, MeshId, Record, Sequence, StateId, VerifiedEnvelope,
    WgPrivateKey, WgPublicKey,
};
use meshd_core::filter::FilterProgram;
use meshd_core::links::{Link, LinkAddress, LinkRoute, LinkSnapshot};
use meshd_core::mesh::{NodeKeys, Start};
use meshd_core::network::NetworkState;
use meshd_core::persistent::PersistentState;
use meshd_core::settings::{
    Filters, Networks, RoutingSettings, Settings, WireguardSettings, ZoneSource,
};
use meshd_core::{Mesh, Now};

use super::chance::Chance;
use super::engine::{Engine, Mode, Tick};
use super::net::{Interface, PORT};
use super::plan::NodePlan;
use super::time::{Clocks, SimTime};
use super::{Memory, NodeId};

/// What another node's record says, as this node heard it.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) sequence: Sequence,
    pub(super) record: Record,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) index: NodeId,
    pub(super) settings: Settings,
    pub(super) mesh: Option<Mesh>,
    pub(super) engine: Engine,
    pub(super) clocks: Clocks,
    pub(super) suspended: bool,
    /// When the node is looked at next.
    pub(super) wake: Option<SimTime>,
    pub(super) disk: PersistentState,
    pub(super) published: Option<VerifiedEnvelope>,
    /// Highest sequence published under the present identity.
    pub(super) highest: Option<Sequence>,
    pub(super) network: Option<NetworkState>,
    pub(super) known: BTreeMap<MemberId, Known>,
    pub(super) hears: Option<BTreeSet<MemberId>>,
    pub(super) id: MemberId,
    pub(super) key: WgPublicKey,
    /// Processes so far; tells what a former one asked for apart.
    pub(super) starts: u64,
    mode: Mode,
    identity: [u8; 32],
    wireguard: [u8; 32],
    chance: Chance,
}

/// The cluster secret all nodes share.
pub(super) fn secret() -> ClusterSecret {
    let admin = IdentityKey::from_seed(&[99; 32]).public_key();
    ClusterSecret::new(MeshId([7; 16]), [1; 32], admin)
}

impl Node {
    pub(super) fn new(
        index: NodeId,
        plan: &NodePlan,
        servers: &[String],
        seed: u64,
        base: Instant,
    ) -> Self {
        let mut chance = Chance::new(seed, 1000 + index as u64);
        let (identity, wireguard) = (chance.bytes(), chance.bytes());
        let (id, key) = ids(&identity, &wireguard);
        Self {
            index,
            settings: settings(index, plan, servers),
            mesh: None,
            engine: engine(id, key, plan.mode, &mut chance),
            clocks: Clocks::new(base, plan.skew_ms),
            suspended: false,
            wake: None,
            disk: PersistentState::default(),
            published: None,
            highest: None,
            network: None,
            known: BTreeMap::new(),
            hears: None,
            id,
            key,
            starts: 0,
            mode: plan.mode,
            identity,
            wireguard,
            chance,
        }
    }

    /// A new process.
    pub(super) fn start(&mut self, memory: Memory, at: SimTime) {
        if memory != Memory::Disk {
            self.disk = PersistentState::default();
        }
        if memory == Memory::Nothing {
            (self.identity, self.wireguard) = (self.chance.bytes(), self.chance.bytes());
            (self.id, self.key) = ids(&self.identity, &self.wireguard);
        }
        if memory != Memory::Disk {
            self.known.clear();
            self.highest = None;
        }
        self.starts += 1;
        self.network = None;
        self.published = None;
        self.engine = engine(self.id, self.key, self.mode, &mut self.chance);
        let mut state = [0; 16];
        state.copy_from_slice(&self.chance.bytes()[..16]);
        let start = Start {
            settings: self.settings.clone(),
            secret: secret(),
            keys: NodeKeys {
                identity: IdentityKey::from_seed(&self.identity),
                wireguard: WgPrivateKey::from_bytes(self.wireguard),
                state_id: StateId(state),
            },
            cache: self.disk.clone(),
            seed: self.chance.bytes(),
        };
        self.mesh = Some(Mesh::new(start, self.clocks.now(at)));
        self.wake = None;
    }

    /// True if it runs and does not sleep.
    pub(super) const fn is_awake(&self) -> bool {
        self.mesh.is_some() && !self.suspended
    }

    pub(super) fn now(&self, at: SimTime) -> Now {
        self.clocks.now(at)
    }

    pub(super) fn tick(&self, at: SimTime) -> Tick {
        let now = self.clocks.now(at);
        let below_ms = u64::from(at.subsec_nanos()) % 1_000_000;
        Tick {
            now: now.instant,
            wall_ns: now.unix_ms.saturating_mul(1_000_000) + below_ms,
        }
    }

    /// When core or engine want to be looked at.
    pub(super) fn next_due(&self) -> Option<SimTime> {
        let mesh = self.mesh.as_ref()?.poll_timeout().map(|(at, _)| at);
        let due = mesh.into_iter().chain(self.engine.next_timer()).min()?;
        Some(self.clocks.world_time(due))
    }

    /// The zone label in force.
    pub(super) fn zone(&self) -> Option<&str> {
        match &self.settings.zone {
            ZoneSource::Label(zone) => Some(zone),
            _ => None,
        }
    }
}

fn ids(identity: &[u8; 32], wireguard: &[u8; 32]) -> (MemberId, WgPublicKey) {
    let id = IdentityKey::from_seed(identity).public_key().member_id();
    (id, WgPrivateKey::from_bytes(*wireguard).public_key())
}

fn engine(id: MemberId, key: WgPublicKey, mode: Mode, chance: &mut Chance) -> Engine {
    let own = mesh_address(&secret().mesh_id(), &id);
    let seed = Chance::new(chance.number(), 1);
    Engine::new(key, own, mode, seed)
}

/// What the host's network looks like.
pub(super) fn links(interfaces: &[Interface]) -> LinkSnapshot {
    let mut snapshot = LinkSnapshot::default();
    for (index, interface) in (2_u32..).zip(interfaces) {
        let address = IpNet::new(interface.address, interface.prefix_len).ok();
        let addresses = address.map(|address| LinkAddress {
            address,
            global: true,
            temporary: false,
            unusable: false,
        });
        if let (true, Some(prefix)) = (interface.up, interface.leads) {
            snapshot.routes.push(LinkRoute {
                prefix,
                link: index,
            });
        }
        if interface.up {
            let default = match interface.address {
                IpAddr::V4(_) => &mut snapshot.default_v4,
                IpAddr::V6(_) => &mut snapshot.default_v6,
            };
            default.get_or_insert(index);
            snapshot.on_link.extend(address.iter().map(IpNet::trunc));
        }
        snapshot.links.push(Link {
            index,
            name: format!("eth{}", index - 2),
            kind: None,
            up: interface.up,
            mtu: 1500,
            addresses: addresses.into_iter().collect(),
        });
    }
    snapshot.on_link.sort();
    snapshot
}

fn settings(index: NodeId, plan: &NodePlan, servers: &[String]) -> Settings {
    Settings {
        name: format!("n{index}"),
        zone: plan.zone.clone().map_or(ZoneSource::Own, ZoneSource::Label),
        mode: TopologyMode::Cross,
        wireguard: WireguardSettings {
            interface: "mesh0".to_owned(),
            listen_port: PORT,
            mtu: None,
            backend: match plan.mode {
                Mode::Userspace => BackendKind::Userspace,
                Mode::Kernel => BackendKind::Kernel,
            },
            backend_reason: "simulated".to_owned(),
        },
        filters: Filters {
            endpoints: plan
                .endpoints
                .as_ref()
                .and_then(|entries| FilterProgram::parse(entries).ok()),
            ..Filters::default()
        },
        networks: Networks::default(),
        ignore_interfaces: Vec::new(),
        static_endpoints: Vec::new(),
        discovery_servers: servers.to_vec(),
        allow_down_peer_bypass: false,
        routing: RoutingSettings {
            table: 5184,
            rule_priority: 500,
            mark: 0x1000,
            mask: 0x1000,
            protocol: 84,
            bypass: Vec::new(),
        },
        external_peers: Vec::new(),
    }
}

/// Waits of a client between attempts to reach a server: most attempts are refused at once.
pub(super) fn client_wait(chance: &mut Chance, failures: u32) -> Duration {
    let most = Duration::from_millis(250 << failures.min(6)).min(Duration::from_secs(10));
    most * 3 / 4 + chance.up_to(most / 2)
}
