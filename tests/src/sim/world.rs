//! The world: nodes, servers and packets in virtual time, one happening after the other.

mod clients;
mod faults;
mod packets;
mod rare;
mod servers;
mod traffic;
mod views;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ipnet::IpNet;
use mesh_proto::{ClusterKeys, MemberId, WgPublicKey};
use meshd_core::data_plane::EngineEvent;
use meshd_core::{Action, Input};

use self::clients::{Client, ClientKey, Message};
pub use self::faults::Fault;
use self::faults::Undo;
use self::traffic::Traffic;
use super::chance::Chance;
use super::checks::{Bounds, Checks, Violation};
use super::discovery::{Lines, SERVER_PORT, Server, server_address};
use super::engine::Output;
use super::net::{INTERNET, Interface, Net};
use super::node::{Node, links, secret};
use super::packet::Packet;
use super::plan::{NodePlan, Plan};
use super::time::{Agenda, SimTime};
use super::{Memory, NodeId};

/// Between two looks at leases.
const EXPIRY_TICK: Duration = Duration::from_secs(5);
/// Calls of one node at one instant before it counts as a busy loop.
const MAX_WAKES: u32 = 2000;

#[derive(Debug)]
enum Happening {
    Wake(NodeId),
    Arrive {
        node: NodeId,
        index: usize,
        address: IpAddr,
        from: SocketAddr,
        packet: Packet,
    },
    Stun {
        server: usize,
        from: SocketAddr,
        bytes: Bytes,
    },
    Client(ClientKey, u64, Message),
    Expire,
    /// A server's watchers read what changed.
    Push(usize),
    Undo(Undo),
    Stream(usize),
}

/// Nodes, servers and what lies between them.
#[derive(Debug)]
pub struct World {
    pub(super) net: Net,
    pub(super) nodes: Vec<Node>,
    pub(super) servers: Vec<Server>,
    pub(super) checks: Checks,
    now: SimTime,
    agenda: Agenda<Happening>,
    chance: Chance,
    clients: BTreeMap<ClientKey, Client>,
    lines: Lines,
    traffic: Traffic,
    by_key: HashMap<WgPublicKey, NodeId>,
    cluster: Vec<ClusterKeys>,
    sessions: u64,
    /// Wakes of one node at one instant.
    busy: (NodeId, SimTime, u32),
    /// Addresses given out when hosts move.
    moves: u8,
    /// Emptied by its last user, for the next one.
    spare: (Output, VecDeque<EngineEvent>),
    pub(super) calls: u64,
}

impl World {
    /// A world of `plan`, with every process started but the late ones.
    #[must_use]
    pub fn new(plan: &Plan, bounds: Bounds) -> Self {
        let mut world = Self::empty(plan, bounds);
        for (node, _) in plan.nodes.iter().enumerate().filter(|(_, plan)| !plan.late) {
            world.start(node, Memory::Disk);
        }
        world
    }

    /// A world of `plan` in which no process runs yet.
    #[must_use]
    pub fn empty(plan: &Plan, bounds: Bounds) -> Self {
        let cluster = secret().keys();
        let cluster_id = cluster[0].cluster_id();
        let mut world = Self {
            net: Net::new(),
            nodes: Vec::new(),
            servers: Vec::new(),
            checks: Checks::new(bounds, plan.nodes.len()),
            now: Duration::ZERO,
            agenda: Agenda::new(),
            chance: Chance::new(plan.seed, 0),
            clients: BTreeMap::new(),
            lines: Lines::default(),
            traffic: Traffic::default(),
            by_key: HashMap::new(),
            cluster,
            sessions: 0,
            busy: (0, Duration::ZERO, 0),
            moves: 1,
            spare: Default::default(),
            calls: 0,
        };
        world.net.weather = plan.weather;
        for (site, kind) in plan.sites.iter().enumerate() {
            let public = IpAddr::from([203, 0, 113, u8::try_from(site + 1).unwrap_or(u8::MAX)]);
            world.net.add_nat(site + 1, public, *kind);
        }
        let mut urls = Vec::new();
        for index in 0..plan.servers {
            let address = server_address(index);
            world.net.add_server(index, address);
            world.servers.push(Server::new(index, cluster_id));
            urls.push(format!("http://{address}:{SERVER_PORT}"));
        }
        let base = Instant::now();
        for (index, node) in plan.nodes.iter().enumerate() {
            world.net.add_host(interfaces(index, node));
            let made = Node::new(index, node, &urls, plan.seed, base);
            world.nodes.push(made);
        }
        for (index, node) in plan.nodes.iter().enumerate() {
            let ids = |heard: &Vec<usize>| heard.iter().map(|one| world.nodes[*one].id).collect();
            let hears: Option<BTreeSet<MemberId>> = node.hears.as_ref().map(ids);
            world.nodes[index].hears = hears;
        }
        world.agenda.push(EXPIRY_TICK, Happening::Expire);
        world
    }

    /// Time since the world began.
    #[must_use]
    pub const fn now(&self) -> SimTime {
        self.now
    }

    /// Lets time pass, until something happens that must not.
    ///
    /// # Errors
    /// The first violation.
    pub fn run(&mut self, time: Duration) -> Result<(), Violation> {
        let end = self.now + time;
        while let Some((at, happening)) = self.agenda.pop_until(end) {
            self.now = at;
            self.happen(happening);
            if let Some(violation) = self.checks.violation() {
                return Err(violation);
            }
        }
        self.now = end;
        self.checks.violation().map_or(Ok(()), Err)
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Wake(node) => self.wake(node),
            Happening::Arrive {
                node,
                index,
                address,
                from,
                packet,
            } => self.arrive((node, index), address, from, packet),
            Happening::Stun {
                server,
                from,
                bytes,
            } => self.stun(server, from, &bytes),
            Happening::Client(key, session, message) => self.client(key, session, message),
            Happening::Expire => {
                for server in 0..self.servers.len() {
                    if self.servers[server].up && self.servers[server].expire(self.now) {
                        self.push_changes(server);
                    }
                }
                self.agenda.push(self.now + EXPIRY_TICK, Happening::Expire);
            }
            Happening::Push(server) => self.push_changes(server),
            Happening::Undo(undo) => self.undo(undo),
            Happening::Stream(stream) => self.stream(stream),
        }
    }

    fn start(&mut self, node: NodeId, memory: Memory) {
        self.by_key.remove(&self.nodes[node].key);
        self.nodes[node].start(memory, self.now);
        self.by_key.insert(self.nodes[node].key, node);
        self.checks.trace.note(self.now, node, 20, memory as u64);
        let snapshot = links(self.net.interfaces(node));
        self.input(node, Input::Links(snapshot));
        self.restart_clients(node);
    }

    fn stop(&mut self, node: NodeId) {
        self.nodes[node].mesh = None;
        self.nodes[node].wake = None;
        self.checks.trace.note(self.now, node, 21, 0);
        self.end_clients(node);
    }

    /// Hands an input to a node's core, if it runs, and does what follows.
    fn input(&mut self, node: NodeId, input: Input) {
        let now = self.nodes[node].now(self.now);
        if self.nodes[node].suspended {
            return;
        }
        if let Some(mesh) = &mut self.nodes[node].mesh {
            mesh.handle_input(input, now);
            self.calls += 1;
            self.drain(node);
        }
    }

    fn wake(&mut self, node: NodeId) {
        if self.nodes[node].wake != Some(self.now) {
            return;
        }
        self.nodes[node].wake = None;
        if !self.nodes[node].is_awake() {
            return;
        }
        if (self.nodes[node].next_due()).is_some_and(|due| due > self.now) {
            // It was wanted earlier when this was queued.
            return self.arm(node);
        }
        if (self.busy.0, self.busy.1) == (node, self.now) {
            self.busy.2 += 1;
            if self.busy.2 > MAX_WAKES {
                let mesh = self.nodes[node].mesh.as_ref();
                let why = mesh
                    .and_then(meshd_core::Mesh::poll_timeout)
                    .map(|(_, why)| why);
                self.checks
                    .violate(self.now, "busy_loop", format!("n{node} wakes for {why:?}"));
            }
        } else {
            self.busy = (node, self.now, 0);
        }
        let tick = self.nodes[node].tick(self.now);
        let now = self.nodes[node].now(self.now);
        self.nodes[node].engine.tick(tick);
        if let Some(mesh) = &mut self.nodes[node].mesh {
            mesh.handle_timeout(now);
            self.calls += 1;
        }
        self.drain(node);
    }

    /// Carries out what a node's core and engine ask for.
    fn drain(&mut self, node: NodeId) {
        let mut events = std::mem::take(&mut self.spare.1);
        let now = self.nodes[node].now(self.now);
        loop {
            self.take_output(node, &mut events);
            let Some(mesh) = &mut self.nodes[node].mesh else {
                return;
            };
            if let Some(action) = mesh.poll_action() {
                self.carry_out(node, action);
            } else if let Some(event) = events.pop_front() {
                mesh.handle_input(Input::Engine(event), now);
                self.calls += 1;
            } else {
                break;
            }
        }
        while let Some(event) = self.nodes[node]
            .mesh
            .as_mut()
            .and_then(meshd_core::Mesh::poll_event)
        {
            self.checks.event(self.now, &mut self.nodes[node], &event);
        }
        self.spare.1 = events;
        self.arm(node);
    }

    fn arm(&mut self, node: NodeId) {
        let Some(due) = self.nodes[node].next_due() else {
            return;
        };
        let due = due.max(self.now);
        if self.nodes[node].wake.is_none_or(|wake| due < wake) {
            self.nodes[node].wake = Some(due);
            self.agenda.push(due, Happening::Wake(node));
        }
    }

    fn carry_out(&mut self, node: NodeId, action: Action) {
        match action {
            Action::Engine(command) => {
                self.checks.command(self.now, &self.nodes[node], &command);
                let tick = self.nodes[node].tick(self.now);
                self.nodes[node].engine.command(command, tick);
            }
            // The simulator has no networks inside zones.
            Action::SendNative { .. } => {}
            Action::ApplyNetwork(network) => {
                self.nodes[node].network = Some(*network);
                self.checks.network(self.now, &self.nodes[node]);
            }
            Action::Persist(state) => self.nodes[node].disk = *state,
            Action::Publish(envelope) => {
                self.checks
                    .publish(self.now, &mut self.nodes[node], &envelope, &self.cluster);
                self.nodes[node].published = Some(envelope);
                self.put_everywhere(node);
            }
            Action::PublishReport(envelope) => self.put_report(node, &envelope),
            // No simulated administrator removes anybody.
            Action::PublishRemovals(_) => {}
            // Keys are not replaced in scenarios; the core has its own tests of that.
            Action::KeyInUse(_) => {}
            Action::Stop => self.stop(node),
        }
    }

    /// What the engine left to be done: packets go out, events wait for their turn.
    fn take_output(&mut self, node: NodeId, events: &mut VecDeque<EngineEvent>) {
        let spare = std::mem::take(&mut self.spare.0);
        let mut out = std::mem::replace(&mut self.nodes[node].engine.out, spare);
        for fault in out.faults.drain(..) {
            self.checks
                .violate(self.now, "engine", format!("n{node} {fault}"));
        }
        for (key, tag) in out.users.drain(..) {
            if let Some(from) = self.by_key.get(&key) {
                self.traffic.arrived(*from, node, tag, self.now);
            }
        }
        for packet in out.packets.drain(..) {
            if let Some(failed) = self.emit(node, packet) {
                events.push_back(failed);
            }
        }
        events.extend(out.events.drain(..));
        self.spare.0 = out;
    }
}

/// The interfaces of a host.
fn interfaces(host: NodeId, plan: &NodePlan) -> Vec<Interface> {
    let interface = |realm, address, prefix_len| Interface {
        realm,
        address,
        prefix_len,
        up: true,
        latency: plan.latency,
        weather: super::Weather::default(),
        largest: None,
        leads: plan.routed.then(|| realm_prefix(realm)).flatten(),
    };
    let homes = (0..).zip(&plan.homes);
    let four = homes.map(|(nic, realm)| interface(*realm, host_address(*realm, host, nic), 24));
    let number = u16::try_from(host).unwrap_or(u16::MAX);
    let address = IpAddr::from([0x2001, 0xdb8, number, 0, 0, 0, 0, 1]);
    let six = plan.six.then(|| interface(INTERNET, address, 64));
    four.chain(six).collect()
}

/// Everything in a realm. None if it is not a prefix.
fn realm_prefix(realm: usize) -> Option<IpNet> {
    let octet = u8::try_from(realm * 16).ok()?;
    if realm == INTERNET {
        IpNet::new(IpAddr::from([128, 0, 0, 0]), 1).ok()
    } else {
        IpNet::new(IpAddr::from([10, octet, 0, 0]), 12).ok()
    }
}

/// Address of a host's interface: a subnet for each, so that no node lies on another's link.
fn host_address(realm: usize, host: usize, nic: usize) -> IpAddr {
    let (high, low) = (host / 250, host % 250);
    let octet = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
    if realm == INTERNET {
        IpAddr::from([45, octet(nic * 64 + high), octet(low), 1])
    } else {
        IpAddr::from([10, octet(realm * 16 + nic * 4 + high), octet(low), 1])
    }
}
