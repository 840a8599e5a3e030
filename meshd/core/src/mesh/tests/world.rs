//! A world: nodes, a discovery server and the packets between them, in virtual time. Deterministic.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use mesh_proto::control::PeerState;
use mesh_proto::discovery::Info;
use mesh_proto::probe::PROBE_PACKET_BYTES;
use mesh_proto::{MemberId, ServerId, VerifiedEnvelope, stun};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

use super::discovery::{FakeServer, Put};
use super::engine::{Outgoing, Packet};
use super::node::{Nat, Node, settings};
use super::streams::Streams;
use crate::data_plane::{EngineCommand, EngineEvent, PathId};
use crate::input::DiscoveryEvent;
use crate::{Action, Input, Now, Settings};

const LATENCY: Duration = Duration::from_millis(10);
const STEP: Duration = Duration::from_secs(5);
/// Of the discovery server; its STUN is on the same port.
pub(super) const SERVER: ([u8; 4], u16) = ([198, 51, 100, 1], 7400);
/// Wall clock at the start: some time in 2026.
pub(super) const CLOCK_MS: u64 = 1_780_000_000_000;

mod changes;
mod seen;
mod traffic;

#[derive(Debug)]
enum Delivery {
    Packet {
        from: SocketAddr,
        to: SocketAddr,
        packet: Packet,
    },
    Server(usize, DiscoveryEvent),
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) now: Now,
    pub(super) nodes: Vec<Node>,
    pub(super) server: FakeServer,
    /// Added to the server's clock, milliseconds.
    pub(super) server_ahead_ms: u64,
    /// Addresses nothing gets to or from.
    pub(super) cut: BTreeSet<IpAddr>,
    /// An address nothing gets out from.
    pub(super) cut_from: Option<IpAddr>,
    /// Packets lost at random, per cent.
    pub(super) loss: u32,
    /// Envelopes in tunnels get lost, as with a far end that does not know them.
    pub(super) deaf: bool,
    /// Probes outside the tunnel get lost.
    pub(super) outside_lost: bool,
    /// Larger inner packets vanish, bytes.
    pub(super) largest: usize,
    pub(super) latency: Duration,
    /// Two networks that meet nowhere, 10.0 and 10.1, and whether packets to a higher and to a lower
    /// node number pass there.
    pub(super) lans: Option<[(bool, bool); 2]>,
    pub(super) streams: Streams,
    rng: ChaCha20Rng,
    flight: BTreeMap<(Instant, u64), Delivery>,
    counter: u64,
    next_step: Instant,
}

impl World {
    /// A server and a node for each `(name, zone)`, numbered from 1, all started and connected.
    pub(super) fn new(nodes: &[(&str, Option<&str>)]) -> Self {
        let mut world = Self::empty();
        for (name, zone) in nodes {
            world.add(settings(name, *zone));
        }
        world
    }

    pub(super) fn empty() -> Self {
        let now = Now {
            instant: super::base_instant(),
            unix_ms: CLOCK_MS,
        };
        Self {
            now,
            nodes: Vec::new(),
            server: FakeServer {
                up: true,
                ..FakeServer::default()
            },
            server_ahead_ms: 0,
            cut: BTreeSet::new(),
            cut_from: None,
            loss: 0,
            deaf: false,
            outside_lost: false,
            largest: usize::MAX,
            latency: LATENCY,
            lans: None,
            streams: Streams::default(),
            rng: ChaCha20Rng::from_seed([5; 32]),
            flight: BTreeMap::new(),
            counter: 0,
            next_step: now.instant + STEP,
        }
    }

    pub(super) fn add(&mut self, settings: Settings) -> usize {
        self.add_behind(settings, None)
    }

    pub(super) fn add_behind(&mut self, settings: Settings, nat: Option<SocketAddr>) -> usize {
        let index = self.nodes.len();
        let number = u8::try_from(index + 1).unwrap();
        let mut node = Node::new(number, settings, self.now);
        node.nat = nat.map(Nat::new);
        self.nodes.push(node);
        self.come_up(index);
        index
    }

    /// kill -9, or a host that loses power.
    pub(super) fn kill(&mut self, index: usize) {
        self.nodes[index].running = false;
    }

    pub(super) fn start_again(&mut self, index: usize) {
        let now = self.now;
        self.nodes[index].start_again(now);
        self.come_up(index);
    }

    pub(super) fn input(&mut self, index: usize, input: Input) {
        if self.nodes[index].running {
            let now = self.now;
            self.nodes[index].mesh.handle_input(input, now);
            self.drain(index);
        }
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now.instant + time;
        let mut steps = 0;
        while let Some(next) = self.next_instant().filter(|next| *next <= end) {
            let ahead = next.saturating_duration_since(self.now.instant);
            steps = if ahead.is_zero() { steps + 1 } else { 0 };
            let due = || self.nodes.iter().map(|node| node.mesh.poll_timeout());
            assert!(
                steps < 10_000,
                "time stands still: {:?}",
                due().collect::<Vec<_>>()
            );
            self.now = self.now + ahead;
            self.step();
        }
        let rest = end.saturating_duration_since(self.now.instant);
        self.now = self.now + rest;
    }

    pub(super) fn run_s(&mut self, seconds: u64) {
        self.run(Duration::from_secs(seconds));
    }

    fn come_up(&mut self, index: usize) {
        self.drain(index);
        let links = self.nodes[index].links();
        self.input(index, Input::Links(links));
        self.connect(index);
    }

    fn connect(&mut self, index: usize) {
        if !self.server.up || !self.nodes[index].running {
            return;
        }
        let node = &self.nodes[index];
        let seen = node
            .nat
            .as_ref()
            .map_or(node.address, |nat| nat.public.ip());
        let info = Info {
            server: ServerId([1; 16]),
            epoch: 1,
            nonce: String::new(),
            stun_port: Some(SERVER.1),
            stun_address: None,
            your_address: seen,
            time_ms: self.now.unix_ms + self.server_ahead_ms,
            lease_s: 300,
        };
        let stun = Some(SERVER.into());
        self.later(index, DiscoveryEvent::Connected { info, stun });
        for event in self.server.snapshot(self.now.instant) {
            self.later(index, event);
        }
        self.later(index, DiscoveryEvent::Synced);
        self.put(index);
    }

    fn put(&mut self, index: usize) {
        let node = &self.nodes[index];
        if !self.server.up || !node.running {
            return;
        }
        let published = node.published.iter().chain(&node.published_too);
        for envelope in published.cloned().collect::<Vec<_>>() {
            self.put_one(index, &envelope);
        }
    }

    fn put_one(&mut self, index: usize, envelope: &VerifiedEnvelope) {
        match self.server.put(envelope, self.now.instant) {
            Put::Renewed => {}
            Put::Conflict(stored) => self.later(index, DiscoveryEvent::Conflict { stored }),
            Put::New => {
                self.later(index, DiscoveryEvent::Published(envelope.sequence()));
                for other in 0..self.nodes.len() {
                    let event = DiscoveryEvent::Member {
                        envelope: envelope.clone(),
                        fresh: true,
                        stale_s: 0,
                    };
                    self.later(other, event);
                }
            }
        }
    }

    fn later(&mut self, index: usize, event: DiscoveryEvent) {
        if let DiscoveryEvent::Member { envelope, .. } = &event
            && !self.nodes[index].reads(envelope.cluster())
        {
            return;
        }
        self.schedule(LATENCY, Delivery::Server(index, event));
    }

    fn schedule(&mut self, after: Duration, delivery: Delivery) {
        self.counter += 1;
        self.flight
            .insert((self.now.instant + after, self.counter), delivery);
    }

    fn next_instant(&self) -> Option<Instant> {
        let timers = self
            .nodes
            .iter()
            .filter(|node| node.running)
            .filter_map(|node| node.mesh.poll_timeout());
        let silence = self
            .nodes
            .iter()
            .filter(|node| node.running && self.streams.next().is_some())
            .filter_map(|node| node.engine.silence_due());
        timers
            .map(|(at, _)| at)
            .chain(silence)
            .chain(self.streams.next())
            .chain(self.flight.keys().next().map(|(at, _)| *at))
            .chain(std::iter::once(self.next_step))
            .min()
    }

    fn step(&mut self) {
        let now = self.now.instant;
        if self.next_step <= now {
            self.next_step = now + STEP;
            for index in 0..self.nodes.len() {
                self.put(index);
            }
            if self.server.up {
                for event in self.server.ended(now) {
                    for index in 0..self.nodes.len() {
                        self.later(index, event.clone());
                    }
                }
            }
        }
        while let Some(entry) = self
            .flight
            .first_entry()
            .filter(|entry| entry.key().0 <= now)
        {
            match entry.remove() {
                Delivery::Server(index, event) => self.input(index, discovery(event)),
                Delivery::Packet { from, to, packet } => self.deliver(from, to, packet),
            }
        }
        self.send_streams();
        for index in 0..self.nodes.len() {
            if self.nodes[index].running && self.streams.next().is_some() {
                let events = self.nodes[index].engine.silent(now);
                self.engine_events(index, events);
            }
            let due = self.nodes[index].mesh.poll_timeout();
            if self.nodes[index].running && due.is_some_and(|(at, _)| at <= now) {
                let now = self.now;
                self.nodes[index].mesh.handle_timeout(now);
                self.drain(index);
            }
        }
    }

    /// Carries out what the node's mesh asks for.
    pub(super) fn drain(&mut self, index: usize) {
        while let Some(action) = self.nodes[index].mesh.poll_action() {
            let node = &mut self.nodes[index];
            match action {
                Action::Engine(EngineCommand::Send { packet, .. })
                    if self.deaf && packet.len() > PROBE_PACKET_BYTES => {}
                Action::Engine(command) => {
                    assert!(node.first_network.is_some(), "fail closed comes first");
                    let (out, events) = node.engine.command(command, self.now.instant);
                    self.send(index, out);
                    self.engine_events(index, events);
                }
                Action::ApplyNetwork(network) => {
                    node.first_network.get_or_insert_with(|| (*network).clone());
                    node.network = *network;
                }
                Action::SendNative { to, bytes } => node.native.push((to, bytes)),
                Action::Persist(state) => node.disk = *state,
                Action::Publish(envelope) => {
                    let used = node.disk.record_sequence;
                    assert!(
                        used >= Some(envelope.sequence()),
                        "persisted before published"
                    );
                    if envelope.cluster() == node.secret.keys()[0].cluster_id() {
                        node.published = Some(envelope);
                        node.published_too.clear();
                    } else {
                        node.published_too.push(envelope);
                    }
                    self.put(index);
                }
                Action::PublishReport(envelope) => {
                    assert!(node.disk.report_sequence >= Some(envelope.sequence()));
                    if envelope.cluster() == node.secret.keys()[0].cluster_id() {
                        node.report = Some(envelope);
                    }
                }
                Action::PublishRemovals(list) => self.put_one(index, &list),
                Action::KeyInUse(_) => node.use_new_key(),
                Action::Stop => {
                    node.stopped = true;
                    node.running = false;
                }
            }
        }
        let node = &mut self.nodes[index];
        while let Some(event) = node.mesh.poll_event() {
            node.events.push(event);
        }
    }
}

pub(super) fn discovery(event: DiscoveryEvent) -> Input {
    Input::Discovery { server: 0, event }
}
