//! Pings under way: clients that wait for a peer's answer, for a second at most.

use std::time::{Duration, Instant};

use mesh_proto::control::Pinged;
use meshd_core::mesh::{PingRefusal, PingTicket};
use meshd_core::{Mesh, Now};

use super::queries::{no_peer, send};
use crate::control::{Refusal, Reply};

/// How long a peer has to answer.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// Clients that wait; bounded by the requests that may be in flight.
#[derive(Debug, Default)]
pub(super) struct Pings(Vec<Waiting>);

#[derive(Debug)]
struct Waiting {
    ticket: PingTicket,
    until: Instant,
    reply: Reply<Pinged>,
}

impl Pings {
    /// Asks the peer of this name.
    pub(super) fn start(&mut self, name: &str, reply: Reply<Pinged>, mesh: &mut Mesh, now: Now) {
        match mesh.ping(name, now) {
            Ok(ticket) => self.0.push(Waiting {
                ticket,
                until: now.instant + PING_TIMEOUT,
                reply,
            }),
            Err(PingRefusal::NoPeer) => send(reply, Err(no_peer(name))),
            Err(PingRefusal::External) => send(
                reply,
                Err(Refusal::bad_request(format!(
                    "{name:?} is a stock WireGuard peer: it answers no probes; try `ping` with its address"
                ))),
            ),
        }
    }

    /// Tells the clients whose answer is there, or whose time is over.
    pub(super) fn answer(&mut self, mesh: &mut Mesh, now: Now) {
        let over =
            |ping: &mut Waiting| mesh.ping_is_answered(ping.ticket) || ping.until <= now.instant;
        let over: Vec<_> = self.0.extract_if(.., over).collect();
        for ping in over {
            let gone = || Refusal::unavailable("the peer is gone, or too many pings are under way");
            send(ping.reply, mesh.end_ping(ping.ticket).ok_or_else(gone));
        }
    }

    /// When the next client's time is over.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.0.iter().map(|ping| ping.until).min()
    }
}
