//! Discovery clients: what each node's client does with each server, over the virtual network. A
//! stream breaks when its way is cut, and is noticed late; attempts back off.

use std::time::Duration;

use mesh_proto::VerifiedEnvelope;
use mesh_proto::discovery::Revision;
use meshd_core::Input;
use meshd_core::input::DiscoveryEvent;

use super::{Happening, World};
use crate::sim::NodeId;
use crate::sim::discovery::{LEASE, SERVER_PORT, server_address};
use crate::sim::net::Place;
use crate::sim::node::client_wait;

/// A stream without a heartbeat is given up after this.
const SILENCE: Duration = Duration::from_secs(30);
/// Writes that are stored, and told of, together.
const BATCH: Duration = Duration::from_millis(3);
/// An attempt that nobody answers.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A node and the server its client talks to.
pub(super) type ClientKey = (NodeId, usize);

#[derive(Debug, Default)]
pub(super) struct Client {
    /// Messages of other sessions are out of date.
    session: u64,
    online: bool,
    failures: u32,
    revision: Option<Revision>,
}

#[derive(Debug)]
pub(super) enum Message {
    Connect,
    Connected,
    /// For the core; where the stream is then.
    Hear(Vec<DiscoveryEvent>, Option<Revision>),
    /// At the server.
    Put(VerifiedEnvelope),
    Renew,
    /// The stream broke.
    Lost,
}

impl World {
    /// The clients of a new process.
    pub(super) fn restart_clients(&mut self, node: NodeId) {
        for server in 0..self.servers.len() {
            let key = (node, server);
            self.sessions += 1;
            let client = Client {
                session: self.sessions,
                ..Client::default()
            };
            self.clients.insert(key, client);
            self.later(key, Duration::from_millis(1), Message::Connect);
        }
    }

    pub(super) fn end_clients(&mut self, node: NodeId) {
        for server in 0..self.servers.len() {
            self.clients.remove(&(node, server));
            self.servers[server].end_watch(node);
        }
    }

    pub(super) fn client(&mut self, key: ClientKey, session: u64, message: Message) {
        let current = self
            .clients
            .get(&key)
            .is_some_and(|client| client.session == session);
        if !current {
            return;
        }
        let (node, server) = key;
        if self.nodes[node].suspended && !matches!(message, Message::Put(_)) {
            // It is seen to when the node is awake again.
            self.later(key, Duration::from_secs(1), message);
            return;
        }
        match message {
            Message::Connect => self.connect(key),
            Message::Connected => self.connected(key),
            Message::Hear(events, revision) => {
                if let Some(client) = self.clients.get_mut(&key) {
                    client.revision = revision.or(client.revision);
                }
                for event in events {
                    self.hear(key, event);
                }
            }
            Message::Put(envelope) => self.put(key, &envelope),
            Message::Renew => {
                if let Some(envelope) = self.nodes[node].published.clone() {
                    self.send_put(key, envelope);
                }
                let wait = LEASE / 4 + self.chance.up_to(LEASE / 16);
                self.later(key, wait, Message::Renew);
            }
            Message::Lost => {
                self.servers[server].end_watch(node);
                self.offline(key, "the stream ended");
            }
        }
    }

    /// Sends what the node has published to every server it is connected to.
    pub(super) fn put_everywhere(&mut self, node: NodeId) {
        let Some(envelope) = self.nodes[node].published.clone() else {
            return;
        };
        for server in 0..self.servers.len() {
            self.send_put((node, server), envelope.clone());
        }
    }

    pub(super) fn put_report(&mut self, node: NodeId, envelope: &VerifiedEnvelope) {
        for server in 0..self.servers.len() {
            self.send_put((node, server), envelope.clone());
        }
    }

    /// Tells every watcher of a server what it has not read.
    pub(super) fn push_changes(&mut self, server: usize) {
        self.servers[server].telling = false;
        for (node, _) in self.servers[server].watchers() {
            let key = (node, server);
            let Some(delay) = self.way_to_client(key) else {
                // What is written into a cut connection is lost with it.
                self.servers[server].end_watch(node);
                self.later(key, SILENCE, Message::Lost);
                continue;
            };
            let (events, revision) = self.read(key);
            if !events.is_empty() {
                self.later(key, delay, Message::Hear(events, revision));
            }
        }
    }

    /// Ends all streams of a server that stops.
    pub(super) fn drop_streams(&mut self, server: usize) {
        for (node, _) in self.servers[server].drop_watches() {
            let key = (node, server);
            let delay = self.way_to_client(key).unwrap_or(SILENCE);
            self.later(key, delay, Message::Lost);
        }
    }

    /// True if the node's client has a live stream of that server.
    pub(in crate::sim) fn is_online(&self, node: NodeId, server: usize) -> bool {
        self.servers[server].up
            && self
                .clients
                .get(&(node, server))
                .is_some_and(|client| client.online)
    }

    fn connect(&mut self, key: ClientKey) {
        let (node, server) = key;
        let way = self.way_to_server(key).map(|(delay, _)| delay);
        let round_trip = way
            .zip(self.way_to_client(key))
            .map(|(there, back)| there + back);
        match round_trip {
            Some(time) if self.servers[server].up => {
                let revision = self.clients.get(&key).and_then(|client| client.revision);
                let session = self.clients.get(&key).map_or(0, |client| client.session);
                self.servers[server].watch(node, session, revision);
                self.later(key, time * 2, Message::Connected);
            }
            Some(_) => self.offline(key, "connection refused"),
            None => {
                self.later(key, CONNECT_TIMEOUT, Message::Lost);
            }
        }
    }

    fn connected(&mut self, key: ClientKey) {
        let (_, server) = key;
        let seen = self.way_to_server(key).map(|(_, seen)| seen);
        let Some(seen) = seen.filter(|_| self.servers[server].up) else {
            return self.offline(key, "connection reset");
        };
        if let Some(client) = self.clients.get_mut(&key) {
            client.online = true;
            client.failures = 0;
        }
        let (info, stun) = self.servers[server].info(seen, self.now);
        let stun = Some(stun);
        self.hear(key, DiscoveryEvent::Connected { info, stun });
        let (mut events, revision) = self.read(key);
        events.push(DiscoveryEvent::Synced);
        self.later(
            key,
            Duration::from_millis(1),
            Message::Hear(events, revision),
        );
        self.later(key, Duration::from_millis(2), Message::Renew);
    }

    fn offline(&mut self, key: ClientKey, why: &str) {
        self.sessions += 1;
        let Some(client) = self.clients.get_mut(&key) else {
            return;
        };
        client.online = false;
        client.session = self.sessions;
        client.failures += 1;
        let wait = client_wait(&mut self.chance, client.failures);
        self.later(key, wait, Message::Connect);
        self.hear(key, DiscoveryEvent::Disconnected(why.to_owned()));
    }

    fn read(&mut self, (node, server): ClientKey) -> (Vec<DiscoveryEvent>, Option<Revision>) {
        let hears = self.nodes[node].hears.as_ref();
        self.servers[server].read(node, &mut self.lines, hears, self.now)
    }

    fn hear(&mut self, key: ClientKey, event: DiscoveryEvent) {
        let (node, server) = key;
        if let DiscoveryEvent::Member { envelope, .. } = &event {
            let cluster = &self.cluster;
            self.checks.heard(&mut self.nodes[node], envelope, cluster);
        }
        self.input(node, Input::Discovery { server, event });
    }

    fn send_put(&mut self, key: ClientKey, envelope: VerifiedEnvelope) {
        if !self.clients.get(&key).is_some_and(|client| client.online) {
            return;
        }
        match self.way_to_server(key) {
            Some((delay, _)) => self.later(key, delay, Message::Put(envelope)),
            None => {
                // The request times out; the stream is given up with it.
                self.servers[key.1].end_watch(key.0);
                self.later(key, CONNECT_TIMEOUT, Message::Lost);
            }
        }
    }

    fn put(&mut self, key: ClientKey, envelope: &VerifiedEnvelope) {
        let (_, server) = key;
        if !self.servers[server].up {
            return;
        }
        let answer = self.servers[server].put(envelope, self.now);
        if answer.changed && !self.servers[server].telling {
            self.servers[server].telling = true;
            self.agenda.push(self.now + BATCH, Happening::Push(server));
        }
        if let (Some(event), Some(delay)) = (answer.event, self.way_to_client(key)) {
            self.later(key, delay, Message::Hear(vec![event], None));
        }
    }

    fn later(&mut self, key: ClientKey, after: Duration, message: Message) {
        let session = self.clients.get(&key).map_or(0, |client| client.session);
        let happening = Happening::Client(key, session, message);
        self.agenda.push(self.now + after, happening);
    }

    /// Delay to the server, and the address it sees the node at.
    fn way_to_server(&mut self, (node, server): ClientKey) -> Option<(Duration, std::net::IpAddr)> {
        let index = self.net.default_interface(node, server_address(server))?;
        let to = (server_address(server), SERVER_PORT).into();
        let way = self.net.route(node, index, to, self.now)?;
        let from = Place::Host(node, index);
        Some((self.net.latency(from, way.to), way.seen_from.ip()))
    }

    pub(super) fn way_to_client(&self, (node, server): ClientKey) -> Option<Duration> {
        let index = self.net.default_interface(node, server_address(server))?;
        let (from, to) = (Place::Server(server), Place::Host(node, index));
        (!self.net.is_cut(from, to)).then(|| self.net.latency(from, to))
    }
}
