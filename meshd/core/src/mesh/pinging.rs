//! Pinging: a question to a peer that somebody asked for, and which path its answer came by. It counts
//! for nothing else: liveness has probes of its own.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use mesh_proto::WgPublicKey;
use mesh_proto::control::{CONTROL_VERSION, Pinged};
use mesh_proto::probe::{Probe, ProbeFlags, ProbeKind};

use super::Mesh;
use super::peer::PeerKind;
use crate::Now;
use crate::data_plane::{EngineCommand, PathId, TrafficClass};

/// Ids of these questions begin here, far from those of other probes.
const FIRST_ID: u64 = 1 << 63;
/// Questions that wait for an answer; the oldest is forgotten for a further one.
const MAX_WAITING: usize = 64;

/// One question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PingTicket(u64);

/// Why nothing was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PingRefusal {
    /// No peer has that name or id.
    NoPeer,
    /// It is a stock WireGuard peer: it does not answer probes.
    External,
}

#[derive(Debug, Default)]
pub(super) struct Pings {
    asked: u64,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    ticket: PingTicket,
    peer: WgPublicKey,
    sent: Instant,
    answer: Option<(Duration, PathId)>,
}

impl Pings {
    /// Takes an answer; false if it is to another kind of probe.
    pub(super) fn answered(
        &mut self,
        peer: WgPublicKey,
        probe: &Probe,
        path: PathId,
        now: Instant,
    ) -> bool {
        if probe.kind != ProbeKind::Pong || probe.id < FIRST_ID {
            return false;
        }
        let mut waiting = self.waiting.iter_mut();
        let asked = waiting.find(|ping| ping.ticket.0 == probe.id && ping.peer == peer);
        if let Some(ping) = asked {
            let rtt = now.saturating_duration_since(ping.sent);
            ping.answer.get_or_insert((rtt, path));
        }
        true
    }

    /// A peer has another key.
    pub(super) fn follow(&mut self, former: WgPublicKey, key: WgPublicKey) {
        let of_peer = |ping: &&mut Waiting| ping.peer == former;
        for ping in self.waiting.iter_mut().filter(of_peer) {
            ping.peer = key;
        }
    }

    fn ask(&mut self, peer: WgPublicKey, now: Instant) -> PingTicket {
        let ticket = PingTicket(FIRST_ID | self.asked);
        self.asked = (self.asked + 1) % FIRST_ID;
        if self.waiting.len() >= MAX_WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(Waiting {
            ticket,
            peer,
            sent: now,
            answer: None,
        });
        ticket
    }
}

impl Mesh {
    /// Asks a peer, on the path in use, for a sign of life.
    ///
    /// # Errors
    /// If there is nobody to ask.
    pub fn ping(&mut self, name: &str, now: Now) -> Result<PingTicket, PingRefusal> {
        let peer = self.peer_called(name).ok_or(PingRefusal::NoPeer)?;
        let PeerKind::Member {
            mesh_address, held, ..
        } = peer.kind
        else {
            return Err(PingRefusal::External);
        };
        let key = peer.key;
        let own = self.own_facts();
        let ticket = self.pings.ask(key, now.instant);
        let probe = Probe {
            kind: ProbeKind::Ping,
            path: 0,
            id: ticket.0,
            state: own.state,
            own_sequence: own.sequence,
            held_sequence: held,
            flags: ProbeFlags::default(),
        };
        self.out.engine(EngineCommand::Send {
            peer: key,
            path: None,
            class: TrafficClass::Control,
            packet: probe.packet(own.mesh_address, mesh_address),
        });
        Ok(ticket)
    }

    /// True if the answer is there.
    #[must_use]
    pub fn ping_is_answered(&self, ticket: PingTicket) -> bool {
        let mut waiting = self.pings.waiting.iter();
        waiting.any(|ping| ping.ticket == ticket && ping.answer.is_some())
    }

    /// Ends a ping, answered or not. None if the peer is gone, or too many pings came after this one.
    pub fn end_ping(&mut self, ticket: PingTicket) -> Option<Pinged> {
        let waiting = &mut self.pings.waiting;
        let index = waiting.iter().position(|ping| ping.ticket == ticket)?;
        let ping = waiting.remove(index)?;
        let peer = self.peers.get(&ping.peer)?;
        let remote = ping.answer.map(|(_, path)| path.remote);
        let kind = remote.and_then(|remote| {
            let mut endpoints = peer.endpoints.iter();
            let known = endpoints.find(|endpoint| endpoint.candidate.address == remote)?;
            Some(known.candidate.kind)
        });
        Some(Pinged {
            version: CONTROL_VERSION,
            name: peer.label.clone(),
            state: peer.state,
            rtt_ms: ping.answer.map(|(rtt, _)| rtt.as_secs_f64() * 1000.0),
            endpoint: remote,
            local: ping.answer.and_then(|(_, path)| path.local),
            path_kind: kind,
        })
    }
}
