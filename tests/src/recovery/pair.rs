//! The stream in both directions between the nodes, and whether it flows.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use super::net::{DualNet, Side, Way};
use super::stream::Stream;
use crate::lab::LabError;

const PORT: u16 = 5005;
/// The stream flows while the last packet is no older than this.
const FRESH: Duration = Duration::from_millis(60);

/// Name of the direction in which a node receives.
#[must_use]
pub const fn direction_to(side: Side) -> &'static str {
    match side {
        Side::A => "b->a",
        Side::B => "a->b",
    }
}

/// Both directions. Ends when dropped.
#[derive(Debug)]
pub struct Pair {
    /// By receiver.
    streams: [Stream; 2],
}

impl Pair {
    /// Starts between the node addresses of a way. The addresses only name the nodes: which way the
    /// tunnel's packets take is another matter.
    ///
    /// # Errors
    /// If an address cannot be bound.
    pub fn start(net: &DualNet, way: Way) -> Result<Self, LabError> {
        Self::between(net, Side::ALL.map(|side| net.address(side, way)))
    }

    /// Starts between these addresses of `a` and `b`.
    ///
    /// # Errors
    /// If an address cannot be bound.
    pub fn between(net: &DualNet, addresses: [std::net::Ipv4Addr; 2]) -> Result<Self, LabError> {
        let stream = |to: Side| {
            let from = to.other();
            // A port of its own for each end of each direction.
            let number = to as u16 * 2;
            let end = |side: Side, port| {
                let address = SocketAddrV4::new(addresses[side as usize], PORT + port);
                (net.node(side).entry(), address)
            };
            Stream::start(end(from, number), end(to, number + 1))
        };
        Ok(Self {
            streams: [stream(Side::A)?, stream(Side::B)?],
        })
    }

    /// The direction in which `side` receives.
    #[must_use]
    pub const fn to(&self, side: Side) -> &Stream {
        &self.streams[side as usize]
    }

    /// True if both directions have flowed without a pause since `start`, and do.
    #[must_use]
    pub fn flows_since(&self, start: Instant) -> bool {
        let now = Instant::now();
        self.streams
            .iter()
            .all(|stream| stream.arrivals().longest_gap(start, now) < FRESH)
    }
}
