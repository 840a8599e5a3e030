//! What to build, as plain data: zones, nodes, addresses, extra settings. No I/O.
//!
//! Zone number `z` (from 1) is a router with a LAN `10.z.0.0/24` on a backbone `198.51.100.0/24`; node
//! `n` (from 1) of it has `10.z.0.(10+n)` and a pod network `10.244.(10z+n).0/24` with one pod in it. The
//! discovery server sits in `203.0.113.0/24`. Routers route all LANs and pod networks to each other, so
//! that traffic *could* cross the backbone in clear; a NATed zone can only be entered by answers.

use std::net::{Ipv4Addr, SocketAddrV4};

use ipnet::Ipv4Net;
use serde_json::{Value, json};

use super::error::LabError;

/// Where the discovery server runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// On a machine of its own, outside all zones.
    Outside,
    /// On the node of this name.
    Node(String),
}

/// A whole lab.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Zones in order.
    pub zones: Vec<Zone>,
    /// Where the discovery server runs.
    pub discovery: Placement,
    /// `rp_filter` of every machine: 0, 1 or 2.
    pub rp_filter: u8,
}

/// One zone: a site with a router.
#[derive(Debug, Clone)]
pub struct Zone {
    /// Label, `a` to `z`.
    pub name: String,
    /// 1 for the first.
    pub number: u8,
    /// True if its router masquerades and lets nothing new in.
    pub nat: bool,
    /// Nodes in order.
    pub nodes: Vec<Node>,
}

/// One node and its pod.
#[derive(Debug, Clone)]
pub struct Node {
    /// Zone label and number: `a1`.
    pub name: String,
    /// Label of its zone.
    pub zone: String,
    /// Address on its LAN.
    pub address: Ipv4Addr,
    /// Further addresses on its LAN, with their prefix.
    pub extra_addresses: Vec<Ipv4Net>,
    /// Network of its pods.
    pub pods: Ipv4Net,
    /// Merged over the generated configuration.
    pub settings: Value,
}

/// Port of the discovery server.
pub const DISCOVERY_PORT: u16 = 7400;
/// UDP port of the tunnels.
pub const WIREGUARD_PORT: u16 = 51840;
/// Most zones, and nodes in a zone, that the addressing has room for.
pub const LARGEST: u8 = 20;
/// Machine of the discovery server if it is outside.
pub const DISCOVERY_ADDRESS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);

impl Plan {
    /// `zones` zones of `nodes` nodes; from three zones on, the last one is behind NAT.
    ///
    /// # Errors
    /// If a number is 0 or over [`LARGEST`].
    pub fn new(zones: u8, nodes: u8) -> Result<Self, LabError> {
        if !(1..=LARGEST).contains(&zones) || !(1..=9).contains(&nodes) {
            return Err(LabError::Unusable(format!(
                "{zones} zones of {nodes} nodes: give 1 to {LARGEST} zones of 1 to 9 nodes"
            )));
        }
        Ok(Self {
            zones: (1..=zones)
                .map(|number| Zone::new(number, nodes, zones >= 3 && number == zones))
                .collect(),
            discovery: Placement::Outside,
            rp_filter: 1,
        })
    }

    /// Every node, in order.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.zones.iter().flat_map(|zone| &zone.nodes)
    }

    /// The node of this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn node(&self, name: &str) -> Result<&Node, LabError> {
        let unknown = || {
            let names: Vec<_> = self.nodes().map(|node| node.name.as_str()).collect();
            LabError::Unusable(format!("no node {name}; there are {}", names.join(", ")))
        };
        self.nodes()
            .find(|node| node.name == name)
            .ok_or_else(unknown)
    }

    /// The same, to change it.
    ///
    /// # Errors
    /// If there is none.
    pub fn node_mut(&mut self, name: &str) -> Result<&mut Node, LabError> {
        self.node(name)?;
        Ok(self
            .zones
            .iter_mut()
            .flat_map(|zone| &mut zone.nodes)
            .find(|node| node.name == name)
            .expect("it was found a line before"))
    }

    /// Ordered pairs of nodes of different zones.
    #[must_use]
    pub fn cross_pairs(&self) -> Vec<(&Node, &Node)> {
        self.pairs(|a, b| a.zone != b.zone)
    }

    /// Ordered pairs of different nodes of one zone.
    #[must_use]
    pub fn zone_pairs(&self) -> Vec<(&Node, &Node)> {
        self.pairs(|a, b| a.zone == b.zone && a.name != b.name)
    }

    /// Where nodes reach the discovery server.
    #[must_use]
    pub fn discovery_address(&self) -> SocketAddrV4 {
        let ip = match &self.discovery {
            Placement::Outside => DISCOVERY_ADDRESS,
            Placement::Node(name) => self
                .node(name)
                .map_or(DISCOVERY_ADDRESS, |node| node.address),
        };
        SocketAddrV4::new(ip, DISCOVERY_PORT)
    }

    fn pairs(&self, wanted: impl Fn(&Node, &Node) -> bool) -> Vec<(&Node, &Node)> {
        self.nodes()
            .flat_map(|a| self.nodes().map(move |b| (a, b)))
            .filter(|(a, b)| wanted(a, b))
            .collect()
    }
}

impl Zone {
    /// Address of the router on the backbone.
    #[must_use]
    pub fn router_outside(&self) -> Ipv4Addr {
        Ipv4Addr::new(198, 51, 100, 10 + self.number)
    }

    /// Address of the router on the LAN.
    #[must_use]
    pub fn router_inside(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.number, 0, 1)
    }

    /// What other routers send to this zone's router.
    #[must_use]
    pub fn prefixes(&self) -> Vec<Ipv4Net> {
        let mut all = vec![net(self.router_inside(), 24).trunc()];
        for node in &self.nodes {
            all.push(node.pods);
            all.extend(node.extra_addresses.iter().map(Ipv4Net::trunc));
        }
        all.sort();
        all.dedup();
        all
    }

    fn new(number: u8, nodes: u8, nat: bool) -> Self {
        let name = char::from(b'a' + number - 1).to_string();
        let nodes = (1..=nodes)
            .map(|n| Node {
                name: format!("{name}{n}"),
                zone: name.clone(),
                address: Ipv4Addr::new(10, number, 0, 10 + n),
                extra_addresses: Vec::new(),
                pods: net(Ipv4Addr::new(10, 244, 10 * number + n, 0), 24),
                settings: json!({}),
            })
            .collect();
        Self {
            name,
            number,
            nat,
            nodes,
        }
    }
}

impl Node {
    /// Name of the pod's machine.
    #[must_use]
    pub fn pod_name(&self) -> String {
        format!("{}-pod", self.name)
    }

    /// The node's address in its pod network.
    #[must_use]
    pub fn pod_gateway(&self) -> Ipv4Addr {
        host(self.pods, 1)
    }

    /// The pod's address.
    #[must_use]
    pub fn pod_address(&self) -> Ipv4Addr {
        host(self.pods, 2)
    }
}

fn host(net: Ipv4Net, number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(net.network()) + number)
}

fn net(address: Ipv4Addr, length: u8) -> Ipv4Net {
    Ipv4Net::new(address, length).expect("lengths here are 24")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_address_of_the_largest_lab_is_different() {
        let plan = Plan::new(LARGEST, 9).unwrap();
        let mut seen = BTreeSet::new();
        for node in plan.nodes() {
            assert!(seen.insert(node.address) && seen.insert(node.pod_address()));
            assert!(seen.insert(node.pod_gateway()));
        }
        for zone in &plan.zones {
            assert!(seen.insert(zone.router_inside()) && seen.insert(zone.router_outside()));
        }
    }

    #[test]
    fn three_by_two() {
        let plan = Plan::new(3, 2).unwrap();
        assert_eq!(plan.cross_pairs().len(), 24);
        assert_eq!(plan.zone_pairs().len(), 6);
        let nat: Vec<_> = plan.zones.iter().map(|zone| zone.nat).collect();
        assert_eq!(nat, [false, false, true]);
        assert_eq!(
            plan.node("b2").unwrap().pod_address(),
            Ipv4Addr::new(10, 244, 22, 2)
        );
        assert!(plan.node("d1").is_err() && Plan::new(0, 1).is_err() && Plan::new(2, 10).is_err());
    }
}
