//! Two workers in one thread, joined by real sockets on loopback, without interfaces: what would be
//! written to the TUN is counted as dropped there. No thread runs, so the test decides when a
//! datagram is lost and what time it is.

mod allocations;
mod full_buffer;
mod handshakes;
mod hostile;
mod kernel_drops;
mod keys;
mod packets;
mod speed;

use super::*;
use crate::engine::queue;
use mesh_proto::WgPublicKey;
use meshd_core::data_plane::{EngineCommand, HandshakeCopy, PathId, PeerSpec};
use std::net::{Ipv4Addr, SocketAddr};
use tokio::sync::mpsc::{self, Receiver};

const MTU: u32 = 1420;

/// A worker and what it tells.
struct Node {
    worker: Worker,
    events: Receiver<EngineEvent>,
    number: u8,
}

impl Node {
    fn new(number: u8) -> Self {
        let counters = Arc::new(EngineCounters::default());
        let (_, inbox) = queue::channel(Arc::clone(&counters)).unwrap();
        let (sender, events) = mpsc::channel(1000);
        let config = config(number, String::new());
        let sockets = UdpSockets::open(0, 0, Offloads::ALL).unwrap();
        let sink = EventSink::new(sender, Arc::clone(&counters));
        let wire = Wire::new(sockets, sink, Arc::clone(&counters));
        let tunnel = Tunnel::absent(MTU, TunOffloads::ALL, Arc::clone(&counters));
        let worker = Worker::assemble(config, inbox, wire, tunnel, counters).unwrap();
        Self {
            worker,
            events,
            number,
        }
    }

    fn key(&self) -> WgPublicKey {
        WgPrivateKey::from_bytes([self.number; 32]).public_key()
    }

    /// What others must know of it.
    fn spec(&self) -> PeerSpec {
        PeerSpec {
            public_key: self.key(),
            preshared_key: None,
            allowed_ips: vec![
                format!("10.{}.0.0/16", self.number).parse().unwrap(),
                format!("{}/128", mesh_address(self.number))
                    .parse()
                    .unwrap(),
            ],
            mesh_address: Some(mesh_address(self.number)),
            keepalive: None,
            endpoint_filter: None,
        }
    }

    /// Its socket by way of loopback address 127.0.0.`last`.
    fn path(&self, last: u8) -> PathId {
        PathId::to(SocketAddr::from((
            [127, 0, 0, last],
            self.worker.listen_port(),
        )))
    }

    /// The same, as somebody sees it who is reached at 127.0.0.1.
    fn seen(&self, last: u8) -> PathId {
        PathId {
            local: Some([127, 0, 0, 1].into()),
            ..self.path(last)
        }
    }

    fn command(&mut self, command: EngineCommand) {
        self.worker.carry_out(Instant::now(), command);
    }

    /// Starts a handshake with one copy now and others after these milliseconds.
    fn handshake(&mut self, with: &Self, after: &[u64]) {
        let copies = after.iter().map(|after| HandshakeCopy {
            path: with.path(1),
            after: Duration::from_millis(*after),
        });
        let command = EngineCommand::Handshake {
            peer: with.key(),
            copies: copies.collect(),
        };
        self.command(command);
    }

    fn events(&mut self) -> Vec<EngineEvent> {
        std::iter::from_fn(|| self.events.try_recv().ok()).collect()
    }

    fn count(&self, name: &str) -> u64 {
        let entries = self.worker.counters.snapshot().entries();
        let entry = entries.into_iter().find(|(known, _)| *known == name);
        entry.expect("a counter of that name").1
    }

    /// Packets that reached the TUN side.
    fn delivered(&self) -> u64 {
        self.count("drop_tun_write")
    }

    /// Reads what has arrived and does nothing with it.
    fn lose_datagrams(&mut self) {
        settle();
        let mut arrivals = Arrivals::new();
        while self.worker.wire.receive(UdpFamily::V4, &mut arrivals) {}
    }

    fn serve(&mut self) -> bool {
        let before = self.count("received_datagrams");
        self.worker.serve_udp(UdpFamily::V4);
        self.count("received_datagrams") > before
    }
}

fn config(number: u8, interface: String) -> EngineConfig {
    EngineConfig {
        interface,
        mtu: MTU,
        listen_port: 0,
        mark: 0,
        private_key: WgPrivateKey::from_bytes([number; 32]),
        mesh_address: mesh_address(number),
        peers_hint: 2,
        offloads: Offloads::ALL,
    }
}

/// Two nodes that know each other.
fn pair() -> (Node, Node) {
    let (mut a, mut b) = (Node::new(1), Node::new(2));
    a.command(EngineCommand::SetPeer(Box::new(b.spec())));
    b.command(EngineCommand::SetPeer(Box::new(a.spec())));
    (a, b)
}

/// Two nodes with a session; their events so far are forgotten.
fn joined() -> (Node, Node) {
    let (mut a, mut b) = pair();
    a.handshake(&b, &[0]);
    exchange(&mut a, &mut b);
    assert_eq!(done(&a.events()), [true]);
    assert_eq!(done(&b.events()), [false]);
    (a, b)
}

/// Lets datagrams pass until there are none.
fn exchange(a: &mut Node, b: &mut Node) {
    let mut quiet = 0;
    while quiet < 2 {
        settle();
        let (left, right) = (a.serve(), b.serve());
        quiet = if left || right { 0 } else { quiet + 1 };
    }
}

/// Loopback delivers within the system call that sends; this is for kernels that do not.
fn settle() {
    std::thread::sleep(Duration::from_millis(2));
}

/// Completed handshakes among `events`: true where this node was the initiator.
fn done(events: &[EngineEvent]) -> Vec<bool> {
    let initiators = events.iter().filter_map(|event| match event {
        EngineEvent::HandshakeDone { initiator, .. } => Some(*initiator),
        _ => None,
    });
    initiators.collect()
}

fn mesh_address(number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(number))
}

/// An IPv4 packet between two nodes' networks.
fn packet(from: u8, to: u8) -> Vec<u8> {
    let mut packet = vec![0; 60];
    packet[0] = 0x45;
    packet[3] = 60;
    packet[9] = 17;
    packet[12..16].copy_from_slice(&Ipv4Addr::new(10, from, 0, 1).octets());
    packet[16..20].copy_from_slice(&Ipv4Addr::new(10, to, 0, 1).octets());
    packet
}
