//! Rare faults: several things at once, or what is seldom seen; and what they share with the others.

use std::time::Duration;

use meshd_core::Input;

use super::World;
use super::faults::{Fault, Undo};
use crate::sim::{Memory, NodeId};

impl World {
    /// Faults that are several at once, or seldom seen.
    pub(super) fn disturb_rarely(&mut self, fault: &Fault) {
        match fault {
            Fault::Leave { node, time } if self.nodes[*node].is_awake() => {
                self.input(*node, Input::Leave);
                self.undo_after(*time, Undo::Start(*node, Memory::Nothing));
            }
            Fault::Join { node } if self.nodes[*node].starts == 0 => {
                self.start(*node, Memory::Disk);
            }
            Fault::Storm { time } => {
                for node in 0..self.nodes.len() {
                    self.kill(node, Memory::Disk, *time);
                }
            }
            Fault::Dark {
                node,
                interface,
                time,
            } => {
                for server in 0..self.servers.len() {
                    self.outage(server, false, *time);
                }
                self.new_address(*node, *interface);
            }
            Fault::Hole {
                node,
                interface,
                bytes,
                time,
            } => {
                if let Some(one) = self.net.interface_mut(*node, *interface) {
                    one.largest = Some(*bytes);
                    self.undo_after(*time, Undo::Fill(*node, *interface));
                }
            }
            _ => {}
        }
    }

    pub(super) fn kill(&mut self, node: NodeId, memory: Memory, time: Duration) {
        if self.nodes[node].is_awake() {
            self.stop(node);
            self.undo_after(time, Undo::Start(node, memory));
        }
    }

    pub(super) fn outage(&mut self, server: usize, empty: bool, time: Duration) {
        if server >= self.servers.len() || !self.servers[server].up {
            return;
        }
        self.servers[server].up = false;
        self.drop_streams(server);
        if empty {
            self.servers[server].wipe();
        }
        self.undo_after(time, Undo::ServerUp(server));
    }
}
