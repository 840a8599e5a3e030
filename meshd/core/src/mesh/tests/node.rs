//! A node of a test world: its mesh, its engine, its disk, and settings to start from.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;
use mesh_proto::mesh_address::mesh_address;
use mesh_proto::record::{BackendKind, TopologyMode};
use mesh_proto::{
    ClusterId, ClusterSecret, IdentityKey, MeshId, StateId, VerifiedEnvelope, WgPrivateKey,
};

use super::engine::FakeEngine;
use super::world::SERVER;
use crate::links::{Link, LinkAddress, LinkRoute, LinkSnapshot};
use crate::mesh::{NodeKeys, Start};
use crate::network::NetworkState;
use crate::persistent::PersistentState;
use crate::settings::{Filters, Networks, RoutingSettings, WireguardSettings, ZoneSource};
use crate::{Event, Mesh, Now, Settings};

pub(super) const PORT: u16 = 51840;

/// Seed of the administrator's key, above those of all nodes.
pub(super) const ADMIN_SEED: u8 = 251;

/// The cluster secret all nodes share.
pub(super) fn secret() -> ClusterSecret {
    let admin = IdentityKey::from_seed(&[ADMIN_SEED; 32]).public_key();
    ClusterSecret::new(MeshId([7; 16]), [1; 32], admin)
}

pub(super) fn settings(name: &str, zone: Option<&str>) -> Settings {
    Settings {
        name: name.to_owned(),
        zone: zone.map_or(ZoneSource::Own, |zone| ZoneSource::Label(zone.to_owned())),
        mode: TopologyMode::Cross,
        wireguard: WireguardSettings {
            interface: "mesh0".to_owned(),
            listen_port: PORT,
            mtu: None,
            backend: BackendKind::Userspace,
            backend_reason: "test".to_owned(),
        },
        filters: Filters::default(),
        networks: Networks::default(),
        ignore_interfaces: Vec::new(),
        static_endpoints: Vec::new(),
        discovery_servers: vec!["http://198.51.100.1:7400".to_owned()],
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

/// A NAT in front of a node: what it sends comes from there; only those it sent to get in.
#[derive(Debug)]
pub(super) struct Nat {
    pub(super) public: SocketAddr,
    pub(super) opened: Vec<SocketAddr>,
    /// Servers are on this side of it.
    pub(super) inside: bool,
}

impl Nat {
    pub(super) const fn new(public: SocketAddr) -> Self {
        Self {
            public,
            opened: Vec::new(),
            inside: false,
        }
    }

    /// All mappings are lost, and the next one has another port.
    pub(super) fn forget(&mut self) {
        self.public.set_port(self.public.port() + 1);
        self.opened.clear();
    }

    fn lets_in(&self, from: SocketAddr, to: SocketAddr) -> bool {
        self.public == to && self.opened.contains(&from)
    }
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) number: u8,
    pub(super) settings: Settings,
    pub(super) mesh: Mesh,
    pub(super) engine: FakeEngine,
    pub(super) running: bool,
    pub(super) address: IpAddr,
    /// Of its second network card.
    pub(super) second: Option<IpAddr>,
    pub(super) nat: Option<Nat>,
    /// Behind the second card.
    pub(super) second_nat: Option<Nat>,
    pub(super) network: NetworkState,
    pub(super) first_network: Option<NetworkState>,
    pub(super) disk: PersistentState,
    pub(super) secret: ClusterSecret,
    /// What the newest secret seals, and what the others do.
    pub(super) published: Option<VerifiedEnvelope>,
    pub(super) published_too: Vec<VerifiedEnvelope>,
    pub(super) report: Option<VerifiedEnvelope>,
    /// Checks of its zone that nobody delivered yet.
    pub(super) native: Vec<(SocketAddr, Vec<u8>)>,
    pub(super) stopped: bool,
    pub(super) events: Vec<Event>,
    /// What the zone and the sessions live by; grows with each start.
    starts: u8,
    /// The key file, and the next one's.
    wireguard: WgPrivateKey,
    next_wireguard: Option<WgPrivateKey>,
}

impl Node {
    pub(super) fn new(number: u8, settings: Settings, now: Now) -> Self {
        let keys = keys(number, 0);
        let id = keys.identity.public_key().member_id();
        let engine = FakeEngine::new(
            keys.wireguard.public_key(),
            mesh_address(&secret().mesh_id(), &id),
        );
        let mut node = Self {
            number,
            mesh: Mesh::new(
                start(
                    number,
                    0,
                    &settings,
                    (&secret(), &PersistentState::default()),
                ),
                now,
            ),
            settings,
            engine,
            running: true,
            address: IpAddr::V4(Ipv4Addr::new(10, 0, number, 1)),
            second: None,
            nat: None,
            second_nat: None,
            network: NetworkState::default(),
            first_network: None,
            disk: PersistentState::default(),
            secret: secret(),
            published: None,
            published_too: Vec::new(),
            report: None,
            native: Vec::new(),
            stopped: false,
            events: Vec::new(),
            starts: 0,
            wireguard: keys.wireguard,
            next_wireguard: None,
        };
        node.running = true;
        node
    }

    /// A new process: the disk stays, sessions do not.
    pub(super) fn start_again(&mut self, now: Now) {
        self.starts += 1;
        self.use_new_key();
        self.engine.reset(self.wireguard.public_key());
        self.first_network = None;
        self.running = true;
        let mut start = start(
            self.number,
            self.starts,
            &self.settings,
            (&self.secret, &self.disk),
        );
        start.keys.wireguard = self.wireguard.clone();
        self.mesh = Mesh::new(start, now);
    }

    /// Writes the key file that is next.
    pub(super) fn write_next_key(&mut self, key: WgPrivateKey) {
        self.next_wireguard = Some(key);
    }

    /// The next key file takes the place of the present one.
    pub(super) fn use_new_key(&mut self) {
        if let Some(key) = self.next_wireguard.take() {
            self.wireguard = key;
        }
    }

    pub(super) fn reads(&self, cluster: ClusterId) -> bool {
        let mut ids = self.secret.keys().into_iter().map(|keys| keys.cluster_id());
        ids.any(|id| id == cluster)
    }

    /// What routes choose: the card on the same side.
    pub(super) fn source_for(&self, to: IpAddr) -> IpAddr {
        let side = |address: &IpAddr| match (address, to) {
            (IpAddr::V4(own), IpAddr::V4(to)) => own.octets()[..2] == to.octets()[..2],
            (IpAddr::V6(_), IpAddr::V6(_)) => true,
            _ => false,
        };
        self.second.filter(side).unwrap_or(self.address)
    }

    /// The own address that a packet gets to, through a NAT if there is one.
    pub(super) fn takes(&self, from: SocketAddr, to: SocketAddr) -> Option<IpAddr> {
        let cards = [
            (Some(self.address), &self.nat),
            (self.second, &self.second_nat),
        ];
        let reached = cards.into_iter().find(|(own, nat)| match nat {
            Some(nat) => nat.lets_in(from, to),
            None => *own == Some(to.ip()) && to.port() == PORT,
        });
        reached?.0
    }

    /// Where a packet to `to` seems to come from that leaves from `own`.
    pub(super) fn seen_from(&mut self, own: IpAddr, to: SocketAddr) -> SocketAddr {
        let second = Some(own) == self.second;
        let nat = if second {
            &mut self.second_nat
        } else {
            &mut self.nat
        };
        match nat {
            Some(nat) if !(nat.inside && to == SERVER.into()) => {
                nat.opened.push(to);
                nat.public
            }
            _ => SocketAddr::new(own, PORT),
        }
    }

    pub(super) fn links(&self) -> LinkSnapshot {
        let link = |(index, address): (u32, IpAddr)| Link {
            index,
            name: format!("eth{}", index - 2),
            kind: None,
            up: true,
            mtu: 1500,
            addresses: vec![LinkAddress {
                address: IpNet::new(address, 24).unwrap(),
                global: true,
                temporary: false,
                unusable: false,
            }],
        };
        let addresses = std::iter::once(self.address).chain(self.second);
        let links: Vec<Link> = (2..).zip(addresses).map(link).collect();
        LinkSnapshot {
            on_link: links
                .iter()
                .map(|link| link.addresses[0].address.trunc())
                .collect(),
            routes: links
                .iter()
                .map(|link| LinkRoute {
                    prefix: IpNet::new(link.addresses[0].address.addr(), 16)
                        .unwrap()
                        .trunc(),
                    link: link.index,
                })
                .collect(),
            links,
            default_v4: Some(2),
            ..LinkSnapshot::default()
        }
    }

    /// True if a route of ours leads `address` into the tunnel.
    pub(super) fn tunnels(&self, address: &str) -> bool {
        let verdict = crate::explain::lookup(&self.network, address.parse().unwrap()).verdict;
        verdict == mesh_proto::control::ExplainVerdict::Tunnel
    }

    pub(super) fn verdict(&self, address: &str) -> mesh_proto::control::ExplainVerdict {
        crate::explain::lookup(&self.network, address.parse().unwrap()).verdict
    }
}

fn keys(number: u8, start: u8) -> NodeKeys {
    NodeKeys {
        identity: IdentityKey::from_seed(&[number; 32]),
        wireguard: WgPrivateKey::from_bytes([number; 32]),
        state_id: StateId([start; 16]),
    }
}

fn start(
    number: u8,
    starts: u8,
    settings: &Settings,
    (secret, cache): (&ClusterSecret, &PersistentState),
) -> Start {
    let mut seed = [starts; 32];
    seed[0] = number;
    Start {
        settings: settings.clone(),
        secret: secret.clone(),
        keys: keys(number, starts),
        cache: cache.clone(),
        seed,
    }
}
