//! Two nodes, each with two NICs, joined by two routers that share nothing: every fault the scenarios
//! need is made here. No daemon, no measurement.
//!
//! Node `n` (1 or 2) has `10.n.w.2` on NIC `eth(w-1)`, in the LAN of router `w` (1 or 2). Which router
//! a packet takes follows from its destination. The discovery server hangs on both routers. Routers
//! pass WireGuard, ICMP and discovery, and nothing else: what reaches the far node came by a tunnel.

mod wiring;

use std::net::Ipv4Addr;
use std::path::Path;

use crate::lab::LabError;
use crate::lab::namespace::Namespace;
use crate::lab::network::sysctls;
use wiring::{NAT, nft, routes};

/// UDP port of the tunnels.
pub const WIREGUARD_PORT: u16 = 51840;
/// Where the discovery server listens.
pub const DISCOVERY_ADDRESS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);

/// One of the two nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Node `a`.
    A,
    /// Node `b`.
    B,
}

/// One of the two disjoint ways between the nodes: a NIC on each and the router between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// `eth0` and router `r1`.
    First,
    /// `eth1` and router `r2`.
    Second,
}

/// Which packets a fault drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From `a` to `b`.
    Out,
    /// From `b` to `a`.
    In,
    /// All.
    Both,
}

/// The machines and their cables.
#[derive(Debug)]
pub struct DualNet {
    nodes: [Namespace; 2],
    routers: [Namespace; 2],
    discovery: Namespace,
    /// Last byte of each node's address on each NIC.
    hosts: [[u8; 2]; 2],
}

impl Side {
    /// Both.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Name of the node.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// What all its addresses are in.
    #[must_use]
    pub const fn range(self) -> &'static str {
        match self {
            Self::A => "10.1.0.0/16",
            Self::B => "10.2.0.0/16",
        }
    }

    /// The routers' interface towards it.
    const fn port(self) -> &'static str {
        match self {
            Self::A => "lan-a",
            Self::B => "lan-b",
        }
    }

    const fn number(self) -> u8 {
        self as u8 + 1
    }
}

impl Way {
    /// Both.
    pub const ALL: [Self; 2] = [Self::First, Self::Second];

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    /// The way a packet to this address takes.
    #[must_use]
    pub const fn to(address: Ipv4Addr) -> Option<Self> {
        match address.octets() {
            [10, 1 | 2, 1, _] => Some(Self::First),
            [10, 1 | 2, 2, _] => Some(Self::Second),
            _ => None,
        }
    }

    const fn number(self) -> u8 {
        self as u8 + 1
    }

    const fn nic(self) -> &'static str {
        match self {
            Self::First => "eth0",
            Self::Second => "eth1",
        }
    }
}

impl DualNet {
    /// Builds everything; `bin_dir` comes first in the `PATH` of every machine.
    ///
    /// # Errors
    /// If not root or a command fails; what was built is removed.
    pub fn build(bin_dir: &Path) -> Result<Self, LabError> {
        let machine = |name: &str| -> Result<Namespace, LabError> {
            let machine = Namespace::create(name, bin_dir)?;
            // Loose, as hosts with two uplinks have it.
            machine.script(&sysctls(2))?;
            Ok(machine)
        };
        let net = Self {
            nodes: [machine("a")?, machine("b")?],
            routers: [machine("r1")?, machine("r2")?],
            discovery: machine("discovery")?,
            hosts: [[2; 2]; 2],
        };
        net.discovery
            .script(&format!("ip address add {DISCOVERY_ADDRESS}/32 dev lo"))?;
        for way in Way::ALL {
            net.wire(way)?;
        }
        Ok(net)
    }

    /// The node's machine.
    #[must_use]
    pub fn node(&self, side: Side) -> &Namespace {
        &self.nodes[side as usize]
    }

    /// The discovery server's machine.
    #[must_use]
    pub const fn discovery(&self) -> &Namespace {
        &self.discovery
    }

    /// Every machine.
    pub fn machines(&self) -> impl Iterator<Item = &Namespace> {
        let outer = self.nodes.iter().chain(&self.routers);
        outer.chain(std::iter::once(&self.discovery))
    }

    /// The node's present address on the NIC of a way.
    #[must_use]
    pub fn address(&self, side: Side, way: Way) -> Ipv4Addr {
        let host = self.hosts[side as usize][way as usize];
        Ipv4Addr::new(10, side.number(), way.number(), host)
    }

    /// Drops what passes between the nodes on a way, silently; links stay up.
    ///
    /// # Errors
    /// If nft fails.
    pub fn black_hole(&self, way: Way, direction: Direction) -> Result<(), LabError> {
        self.faults(way, direction, "")
    }

    /// Drops this share of what passes between the nodes on a way, at random.
    ///
    /// # Errors
    /// If nft fails.
    pub fn lose(&self, way: Way, percent: u8) -> Result<(), LabError> {
        let condition = format!("numgen random mod 100 < {percent}");
        self.faults(way, Direction::Both, &condition)
    }

    /// Ends black holes and losses.
    ///
    /// # Errors
    /// If nft fails.
    pub fn heal(&self) -> Result<(), LabError> {
        self.each_router("flush chain ip lab faults")
    }

    /// Puts node `a` behind a NAT on both ways: its source ports change, and only answers come in.
    ///
    /// # Errors
    /// If nft or conntrack fails.
    pub fn nat(&self) -> Result<(), LabError> {
        self.each_router(NAT)?;
        Way::ALL.into_iter().try_for_each(|way| self.forget(way))
    }

    /// Ends the NAT.
    ///
    /// # Errors
    /// If nft or conntrack fails.
    pub fn end_nat(&self) -> Result<(), LabError> {
        self.each_router("delete table ip home")?;
        Way::ALL.into_iter().try_for_each(|way| self.forget(way))
    }

    /// Lets the router of a way forget every connection it tracks.
    ///
    /// # Errors
    /// If conntrack fails.
    pub fn forget(&self, way: Way) -> Result<(), LabError> {
        self.routers[way as usize].run("conntrack", &["-F"])?;
        Ok(())
    }

    /// Takes a node's NIC down.
    ///
    /// # Errors
    /// If ip fails.
    pub fn link_down(&self, side: Side, way: Way) -> Result<(), LabError> {
        self.node(side)
            .run("ip", &["link", "set", way.nic(), "down"])?;
        Ok(())
    }

    /// Takes it up again, with its routes.
    ///
    /// # Errors
    /// If ip fails.
    pub fn link_up(&self, side: Side, way: Way) -> Result<(), LabError> {
        let up = format!("link set {} up\n", way.nic());
        self.batch(side, &(up + &routes(side, way)))
    }

    /// Gives a node another address on a NIC, as a new lease does: the old one goes first.
    ///
    /// # Errors
    /// If ip fails.
    pub fn replace_address(&mut self, side: Side, way: Way) -> Result<(), LabError> {
        let old = self.address(side, way);
        let host = &mut self.hosts[side as usize][way as usize];
        *host = if *host == 2 { 3 } else { 2 };
        let new = self.address(side, way);
        let nic = way.nic();
        let commands = format!("address del {old}/24 dev {nic}\naddress add {new}/24 dev {nic}\n");
        self.batch(side, &(commands + &routes(side, way)))
    }

    /// Flows between the nodes that were in no tunnel, as nft shows them, since the last call; the
    /// routers dropped them.
    ///
    /// # Errors
    /// If nft fails.
    pub fn take_clear_flows(&self) -> Result<Vec<String>, LabError> {
        let mut flows = Vec::new();
        for router in &self.routers {
            let text = router.run("nft", &["list", "set", "ip", "lab", "clear"])?;
            let (_, elements) = text.split_once("elements = {").unwrap_or_default();
            let elements = elements.split(['}', ',']).map(str::trim);
            let counted = elements.filter(|element| element.contains(" packets "));
            flows.extend(counted.map(|flow| format!("{}: {flow}", router.name())));
            router.run("nft", &["flush", "set", "ip", "lab", "clear"])?;
        }
        Ok(flows)
    }

    fn faults(&self, way: Way, direction: Direction, condition: &str) -> Result<(), LabError> {
        let rule = |from: &str, to: &str| {
            format!("add rule ip lab faults iifname {from} oifname {to} {condition} drop\n")
        };
        let mut text = String::new();
        if direction != Direction::In {
            text += &rule(Side::A.port(), Side::B.port());
        }
        if direction != Direction::Out {
            text += &rule(Side::B.port(), Side::A.port());
        }
        nft(&self.routers[way as usize], &text)
    }

    fn each_router(&self, text: &str) -> Result<(), LabError> {
        self.routers.iter().try_for_each(|router| nft(router, text))
    }

    /// All in one process: the moments between two commands are no part of a scenario.
    fn batch(&self, side: Side, commands: &str) -> Result<(), LabError> {
        let script = format!("ip -batch - <<END\n{commands}END\n");
        self.node(side).script(&script)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_tell_the_way() {
        assert_eq!(Way::to(Ipv4Addr::new(10, 2, 1, 3)), Some(Way::First));
        assert_eq!(Way::to(Ipv4Addr::new(10, 1, 2, 1)), Some(Way::Second));
        assert_eq!(Way::to(DISCOVERY_ADDRESS), None);
        assert_eq!(
            routes(Side::B, Way::Second),
            "route replace 10.1.2.0/24 via 10.2.2.1 dev eth1\n\
             route replace default via 10.2.2.1 dev eth1 metric 200\n"
        );
    }
}
