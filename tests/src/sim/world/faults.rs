//! Faults: what a world does to its nodes, links, NATs and servers, and how it ends.

use std::net::IpAddr;
use std::time::Duration;

use meshd_core::Input;
use meshd_core::settings::ZoneSource;

use super::{Happening, World};
use crate::sim::net::{Area, RealmId, Weather};
use crate::sim::node::links;
use crate::sim::time::SimTime;
use crate::sim::{Memory, NodeId};

/// A disturbance. Those that last end by themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nothing gets from one area to the other; both ways if `both`.
    Cut {
        /// From there.
        from: Area,
        /// To there.
        to: Area,
        /// And back.
        both: bool,
        /// How long.
        time: Duration,
    },
    /// An interface loses its carrier.
    LinkDown {
        /// Whose.
        node: NodeId,
        /// Which one.
        interface: usize,
        /// How long.
        time: Duration,
    },
    /// An interface gets another address, for good.
    NewAddress {
        /// Whose.
        node: NodeId,
        /// Which one.
        interface: usize,
    },
    /// kill -9, and a start after a while.
    Restart {
        /// Whose process.
        node: NodeId,
        /// What is left of its state.
        memory: Memory,
        /// How long it does not run.
        time: Duration,
        /// How far its wall clock is off from then on, milliseconds.
        skew_ms: i64,
    },
    /// The host sleeps.
    Suspend {
        /// Which one.
        node: NodeId,
        /// How long.
        time: Duration,
    },
    /// The wall clock is set, milliseconds from the truth.
    Clock {
        /// Whose.
        node: NodeId,
        /// Its error from then on.
        skew_ms: i64,
    },
    /// A NAT forgets its mappings; with `moves` it also gets another public address.
    Rebind {
        /// The site.
        realm: RealmId,
        /// Another address.
        moves: bool,
    },
    /// A discovery server is down; with `empty` it comes back without its store.
    Outage {
        /// Which one.
        server: usize,
        /// Without its store.
        empty: bool,
        /// How long.
        time: Duration,
    },
    /// Bad weather on an interface.
    Weather {
        /// Whose.
        node: NodeId,
        /// Which one.
        interface: usize,
        /// What kind.
        weather: Weather,
        /// How long.
        time: Duration,
    },
    /// A node is configured to be in another zone, for good.
    Zone {
        /// Which one.
        node: NodeId,
        /// The new label.
        zone: String,
    },
    /// A member leaves for good; after a while another one joins on its host, with its addresses.
    Leave {
        /// Which one.
        node: NodeId,
        /// Until the other one starts.
        time: Duration,
    },
    /// A node that was not there from the beginning starts.
    Join {
        /// Which one.
        node: NodeId,
    },
    /// kill -9 of every process at once, and a start of all.
    Storm {
        /// How long none runs.
        time: Duration,
    },
    /// No discovery server is up when an interface gets another address.
    Dark {
        /// Whose.
        node: NodeId,
        /// Which one.
        interface: usize,
        /// How long there is none.
        time: Duration,
    },
    /// An interface passes small packets only, and tells nobody.
    Hole {
        /// Whose.
        node: NodeId,
        /// Which one.
        interface: usize,
        /// The largest it passes, with IP and UDP headers.
        bytes: usize,
        /// How long.
        time: Duration,
    },
    /// Users send.
    Traffic {
        /// From here.
        from: NodeId,
        /// To there.
        to: NodeId,
        /// Between two packets.
        every: Duration,
        /// How long.
        time: Duration,
    },
}

/// How a fault ends.
#[derive(Debug)]
pub(super) enum Undo {
    Mend(u64),
    LinkUp(NodeId, usize),
    Start(NodeId, Memory),
    Resume(NodeId, SimTime),
    ServerUp(usize),
    Clear(NodeId, usize),
    Fill(NodeId, usize),
}

impl Fault {
    /// How long it lasts.
    #[must_use]
    pub const fn time(&self) -> Duration {
        match self {
            Self::Cut { time, .. }
            | Self::LinkDown { time, .. }
            | Self::Restart { time, .. }
            | Self::Suspend { time, .. }
            | Self::Outage { time, .. }
            | Self::Leave { time, .. }
            | Self::Storm { time }
            | Self::Dark { time, .. }
            | Self::Hole { time, .. }
            | Self::Weather { time, .. } => *time,
            Self::NewAddress { .. }
            | Self::Clock { .. }
            | Self::Rebind { .. }
            | Self::Zone { .. }
            | Self::Join { .. }
            | Self::Traffic { .. } => Duration::ZERO,
        }
    }
}

impl World {
    /// Lets a fault begin now.
    pub fn disturb(&mut self, fault: &Fault) {
        self.checks.trace.note(self.now, 0, 30, 0);
        match fault {
            Fault::Cut {
                from,
                to,
                both,
                time,
            } => {
                let mut cuts = vec![self.net.cut(*from, *to)];
                if *both {
                    cuts.push(self.net.cut(*to, *from));
                }
                for cut in cuts {
                    self.undo_after(*time, Undo::Mend(cut));
                }
            }
            Fault::NewAddress { node, interface } => self.new_address(*node, *interface),
            Fault::Restart {
                node,
                memory,
                time,
                skew_ms,
            } => {
                if self.nodes[*node].is_awake() {
                    self.nodes[*node].clocks.skew_ms = *skew_ms;
                }
                self.kill(*node, *memory, *time);
            }
            Fault::Suspend { node, time } => {
                if self.nodes[*node].is_awake() {
                    self.nodes[*node].suspended = true;
                    self.undo_after(*time, Undo::Resume(*node, self.now));
                }
            }
            Fault::Clock { node, skew_ms } => self.nodes[*node].clocks.skew_ms = *skew_ms,
            Fault::Rebind { realm, moves } => self.rebind(*realm, *moves),
            Fault::Outage {
                server,
                empty,
                time,
            } => self.outage(*server, *empty, *time),
            Fault::LinkDown { .. }
            | Fault::Leave { .. }
            | Fault::Join { .. }
            | Fault::Storm { .. }
            | Fault::Dark { .. }
            | Fault::Hole { .. }
            | Fault::Weather { .. }
            | Fault::Zone { .. }
            | Fault::Traffic { .. } => self.disturb_gently(fault),
        }
    }

    /// Faults that every shell tells its core of, and those that are none.
    fn disturb_gently(&mut self, fault: &Fault) {
        match fault {
            Fault::LinkDown {
                node,
                interface,
                time,
            } => {
                self.set_link(*node, *interface, false);
                self.undo_after(*time, Undo::LinkUp(*node, *interface));
            }
            Fault::Weather {
                node,
                interface,
                weather,
                time,
            } => {
                if let Some(one) = self.net.interface_mut(*node, *interface) {
                    one.weather = *weather;
                    self.undo_after(*time, Undo::Clear(*node, *interface));
                }
            }
            Fault::Zone { node, zone } => {
                self.nodes[*node].settings.zone = ZoneSource::Label(zone.clone());
                let settings = Box::new(self.nodes[*node].settings.clone());
                self.input(*node, Input::Reload(settings));
            }
            Fault::Traffic {
                from,
                to,
                every,
                time,
            } => self.send(*from, *to, *every, *time),
            _ => self.disturb_rarely(fault),
        }
    }

    pub(super) fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Mend(cut) => self.net.mend(cut),
            Undo::LinkUp(node, interface) => self.set_link(node, interface, true),
            Undo::Start(node, memory) => {
                if self.nodes[node].mesh.is_none() {
                    self.start(node, memory);
                }
            }
            Undo::Resume(node, since) => {
                let slept = self.now.saturating_sub(since);
                self.nodes[node].clocks.slept(slept);
                self.nodes[node].suspended = false;
                self.nodes[node].wake = None;
                // The shell reads links and configuration again when it notices the jump.
                let settings = Box::new(self.nodes[node].settings.clone());
                self.input(node, Input::Reload(settings));
                self.tell_links(node);
            }
            Undo::Fill(node, interface) => {
                if let Some(one) = self.net.interface_mut(node, interface) {
                    one.largest = None;
                }
            }
            Undo::ServerUp(server) => self.servers[server].up = true,
            Undo::Clear(node, interface) => {
                if let Some(one) = self.net.interface_mut(node, interface) {
                    one.weather = Weather::default();
                }
            }
        }
    }

    pub(super) fn undo_after(&mut self, time: Duration, undo: Undo) {
        self.agenda.push(self.now + time, Happening::Undo(undo));
    }

    fn set_link(&mut self, node: NodeId, interface: usize, up: bool) {
        if let Some(one) = self.net.interface_mut(node, interface) {
            one.up = up;
        }
        self.tell_links(node);
    }

    fn tell_links(&mut self, node: NodeId) {
        let snapshot = links(self.net.interfaces(node));
        self.input(node, Input::Links(snapshot));
    }

    pub(super) fn new_address(&mut self, node: NodeId, interface: usize) {
        let Some(old) = self.net.interfaces(node).get(interface) else {
            return;
        };
        let new = match old.address {
            IpAddr::V4(old) => {
                let [a, b, c, d] = old.octets();
                IpAddr::from([a, b, c, d.wrapping_add(1).max(1)])
            }
            IpAddr::V6(old) => {
                let [a, b, c, d, e, f, g, h] = old.segments();
                IpAddr::from([a, b, c, d, e, f, g, h.wrapping_add(1).max(1)])
            }
        };
        self.net.readdress(node, interface, new);
        self.tell_links(node);
    }

    fn rebind(&mut self, realm: RealmId, moves: bool) {
        let public = moves.then(|| {
            self.moves = self.moves.wrapping_add(1);
            IpAddr::from([203, 0, 112, self.moves])
        });
        if self.net.nat(realm).is_some() {
            self.net.rebind(realm, public);
        }
    }
}
