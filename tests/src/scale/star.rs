//! Many nodes around one router, each in a subnet of its own. The router passes WireGuard and nothing
//! else between nodes: what reaches another node came by a tunnel. The discovery server is on the router.

use std::net::Ipv4Addr;
use std::path::Path;

use crate::lab::LabError;
use crate::lab::namespace::Namespace;
use crate::lab::network::{join, sysctls};

/// Where the discovery server listens.
pub const DISCOVERY_ADDRESS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
/// What all nodes' addresses are in.
pub const RANGE: &str = "10.99.0.0/16";
/// Addresses are 10.99.X.Y/30.
const MOST: usize = 256 * 64;

/// The machines.
#[derive(Debug)]
pub struct Star {
    router: Namespace,
    nodes: Vec<Namespace>,
}

impl Star {
    /// Builds everything; `bin_dir` comes first in the `PATH` of every machine.
    ///
    /// # Errors
    /// If not root, a command fails, or there are too many nodes; what was built is removed.
    pub fn build(nodes: usize, bin_dir: &Path) -> Result<Self, LabError> {
        if nodes > MOST {
            return Err(LabError::Unusable(format!("at most {MOST} nodes")));
        }
        let router = Namespace::create("router", bin_dir)?;
        router.script(&sysctls(0))?;
        router.script(&format!(
            "ip address add {DISCOVERY_ADDRESS}/32 dev lo\nnft -f - <<'END'\n{FIREWALL}\nEND\n"
        ))?;
        let mut star = Self {
            router,
            nodes: Vec::with_capacity(nodes),
        };
        for number in 0..nodes {
            let node = star.wire(number, bin_dir)?;
            star.nodes.push(node);
        }
        Ok(star)
    }

    fn wire(&self, number: usize, bin_dir: &Path) -> Result<Namespace, LabError> {
        let node = Namespace::create(&format!("n{number}"), bin_dir)?;
        let port = format!("port{number}");
        join((&self.router, &port), (&node, "eth0"))?;
        let (inside, outside) = (address(number, 1), address(number, 2));
        let script = format!("ip address add {inside}/30 dev {port}\nip link set {port} up\n");
        self.router.script(&script)?;
        node.script(&sysctls(0))?;
        node.script(&format!(
            "ip address add {outside}/30 dev eth0\nip link set eth0 up\n\
             ip route add default via {inside}\n"
        ))?;
        Ok(node)
    }

    /// The machine of the router and the discovery server.
    #[must_use]
    pub const fn router(&self) -> &Namespace {
        &self.router
    }

    /// The nodes; the last one is the one that joins.
    #[must_use]
    pub fn nodes(&self) -> &[Namespace] {
        &self.nodes
    }

    /// A node's address.
    #[must_use]
    pub fn address(&self, number: usize) -> Ipv4Addr {
        address(number, 2)
    }
}

fn address(number: usize, host: u32) -> Ipv4Addr {
    let offset = u32::try_from(number * 4).unwrap_or(u32::MAX);
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 99, 0, 0).to_bits() + offset + host)
}

const FIREWALL: &str = "
table ip lab {
  chain forward {
    type filter hook forward priority filter; policy drop;
    udp dport 51840 accept
  }
}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_do_not_meet() {
        assert_eq!(address(0, 2), Ipv4Addr::new(10, 99, 0, 2));
        assert_eq!(address(64, 1), Ipv4Addr::new(10, 99, 1, 1));
        assert_eq!(address(MOST - 1, 2), Ipv4Addr::new(10, 99, 255, 254));
    }
}
