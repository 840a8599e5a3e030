//! Changes: what a test does to a running world's server and secrets.

use std::net::IpAddr;

use mesh_proto::{ClusterSecret, VerifiedEnvelope, WgPrivateKey};

use super::super::node::Node;
use super::{World, discovery};
use crate::Input;
use crate::input::DiscoveryEvent;
use crate::mesh::KeyRefusal;

impl World {
    pub(in super::super) fn set_server(&mut self, up: bool) {
        self.server.up = up;
        for index in 0..self.nodes.len() {
            if up {
                self.connect(index);
            } else {
                let gone = DiscoveryEvent::Disconnected("connection refused".to_owned());
                self.input(index, discovery(gone));
            }
        }
    }

    /// A node with another secret file.
    pub(in super::super) fn set_secret(&mut self, index: usize, secret: ClusterSecret) {
        self.nodes[index].secret = secret.clone();
        self.input(index, Input::Secret(Box::new(secret)));
        self.connect(index);
    }

    /// A node gets another WireGuard key, made of `seed`.
    pub(in super::super) fn rotate_key(
        &mut self,
        index: usize,
        seed: u8,
    ) -> Result<(), KeyRefusal> {
        let key = WgPrivateKey::from_bytes([seed; 32]);
        let (now, node) = (self.now, &mut self.nodes[index]);
        node.mesh.may_rotate_key(false)?;
        node.write_next_key(key.clone());
        let rotated = node.mesh.rotate_key(key, false, now);
        self.drain(index);
        rotated.map(|_| ())
    }

    /// The server pushes this to a node, wherever it has it from.
    pub(in super::super) fn server_says(&mut self, index: usize, envelope: &VerifiedEnvelope) {
        let event = DiscoveryEvent::Member {
            envelope: envelope.clone(),
            fresh: true,
            stale_s: 0,
        };
        self.input(index, discovery(event));
    }

    /// Another machine that starts from a copy of a node's disk.
    pub(in super::super) fn start_copy(&mut self, of: usize, address: IpAddr) -> usize {
        let original = &self.nodes[of];
        let mut copy = Node::new(original.number, original.settings.clone(), self.now);
        copy.disk = original.disk.clone();
        copy.address = address;
        copy.start_again(self.now);
        self.nodes.push(copy);
        let index = self.nodes.len() - 1;
        self.come_up(index);
        index
    }

    /// A machine gets another address.
    pub(in super::super) fn readdress(&mut self, index: usize, address: IpAddr) {
        self.nodes[index].address = address;
        let links = self.nodes[index].links();
        self.input(index, Input::Links(links));
    }
}
