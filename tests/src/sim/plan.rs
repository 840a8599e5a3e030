//! Plan: what a world begins with: sites, nodes, servers and the weather. Data only.

use std::time::Duration;

use super::engine::Mode;
use super::nat::NatKind;
use super::net::{INTERNET, RealmId, Weather};

/// A node of a plan.
#[derive(Debug, Clone)]
pub struct NodePlan {
    /// Its zone; none makes it a zone of its own.
    pub zone: Option<String>,
    /// A network interface in each of these; the first is the default one.
    pub homes: Vec<RealmId>,
    /// Its WireGuard.
    pub mode: Mode,
    /// Error of its wall clock, milliseconds.
    pub skew_ms: i64,
    /// One way from the host to the middle of its networks.
    pub latency: Duration,
    /// The only nodes it ever hears of from discovery servers; none: all. For worlds with thousands of
    /// nodes of which most are extras.
    pub hears: Option<Vec<usize>>,
    /// It has a route for each of its realms, and no default route.
    pub routed: bool,
    /// Its `filters.endpoints`.
    pub endpoints: Option<Vec<String>>,
    /// It has one more interface, in the internet, with an IPv6 address.
    pub six: bool,
    /// It is not there at the beginning.
    pub late: bool,
}

/// A world to begin with.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// NATs of the sites; site `n` is realm `n + 1`.
    pub sites: Vec<NatKind>,
    /// The nodes.
    pub nodes: Vec<NodePlan>,
    /// How many discovery servers.
    pub servers: usize,
    /// Everywhere and always.
    pub weather: Weather,
}

impl NodePlan {
    /// A userspace node in `zone` with an address in the internet.
    #[must_use]
    pub fn public(zone: &str) -> Self {
        Self::at(zone, &[INTERNET])
    }

    /// A userspace node in `zone` with interfaces in `homes`.
    #[must_use]
    pub fn at(zone: &str, homes: &[RealmId]) -> Self {
        Self {
            zone: Some(zone.to_owned()),
            homes: homes.to_vec(),
            mode: Mode::Userspace,
            skew_ms: 0,
            latency: Duration::from_millis(5),
            hears: None,
            routed: false,
            endpoints: None,
            six: false,
            late: false,
        }
    }

    /// How many network interfaces it has.
    #[must_use]
    pub fn interfaces(&self) -> usize {
        self.homes.len() + usize::from(self.six)
    }

    /// The same with the kernel's WireGuard.
    #[must_use]
    pub const fn kernel(mut self) -> Self {
        self.mode = Mode::Kernel;
        self
    }
}

impl Plan {
    /// Nodes without sites, one discovery server, fair weather.
    #[must_use]
    pub fn new(seed: u64, nodes: Vec<NodePlan>) -> Self {
        Self {
            seed,
            sites: Vec::new(),
            nodes,
            servers: 1,
            weather: Weather::default(),
        }
    }
}
