//! Wiring: cables, addresses, routes and rules of the two ways.

use super::{DISCOVERY_ADDRESS, DualNet, Side, Way};
use crate::lab::LabError;
use crate::lab::namespace::Namespace;
use crate::lab::network::join;

impl DualNet {
    /// Joins the nodes and the discovery server by a way.
    pub(super) fn wire(&self, way: Way) -> Result<(), LabError> {
        let router = &self.routers[way as usize];
        let number = way.number();
        let mut script = String::new();
        for side in Side::ALL {
            join((router, side.port()), (self.node(side), way.nic()))?;
            let (port, net) = (side.port(), side.number());
            script += &format!(
                "ip address add 10.{net}.{number}.1/24 dev {port}\nip link set {port} up\n"
            );
        }
        join((router, "lan-d"), (&self.discovery, way.nic()))?;
        let (inside, outside) = (
            format!("198.51.100.{number}1"),
            format!("198.51.100.{number}2"),
        );
        script += &format!(
            "ip address add {inside} peer {outside}/32 dev lan-d\nip link set lan-d up\n\
             ip route add {DISCOVERY_ADDRESS} via {outside}\n"
        );
        router.script(&script)?;
        nft(router, ROUTER)?;
        let mut script = format!(
            "ip address add {outside} peer {inside}/32 dev {nic}\nip link set {nic} up\n",
            nic = way.nic()
        );
        for side in Side::ALL {
            let net = side.number();
            script += &format!("ip route add 10.{net}.{number}.0/24 via {inside}\n");
        }
        self.discovery.script(&script)?;
        for side in Side::ALL {
            let address = self.address(side, way);
            let nic = way.nic();
            let up = format!("address add {address}/24 dev {nic}\nlink set {nic} up\n");
            self.batch(side, &(up + &routes(side, way)))?;
        }
        Ok(())
    }
}

/// What a node routes by the NIC of a way, as lines for `ip -batch`.
pub(super) fn routes(side: Side, way: Way) -> String {
    let (own, other, number) = (side.number(), side.other().number(), way.number());
    let via = format!("via 10.{own}.{number}.1 dev {}", way.nic());
    format!(
        "route replace 10.{other}.{number}.0/24 {via}\n\
         route replace default {via} metric {number}00\n"
    )
}

pub(super) fn nft(router: &Namespace, text: &str) -> Result<(), LabError> {
    router.script(&format!("nft -f - <<'END'\n{text}\nEND\n"))?;
    Ok(())
}

const ROUTER: &str = "
table ip lab {
  set clear {
    type ipv4_addr . ipv4_addr . inet_proto
    flags dynamic
    size 128
    counter
  }
  chain faults { }
  chain forward {
    type filter hook forward priority filter
    jump faults
    iifname lan-d accept
    oifname lan-d accept
    udp dport 51840 accept
    ip protocol icmp accept
    update @clear { ip saddr . ip daddr . meta l4proto }
    drop
  }
}
";

pub(super) const NAT: &str = "
table ip home {
  chain postrouting {
    type nat hook postrouting priority srcnat
    iifname lan-a oifname lan-b masquerade fully-random
  }
  chain forward {
    type filter hook forward priority filter - 1
    iifname lan-b oifname lan-a ct state new drop
  }
  chain input {
    type filter hook input priority filter
    iifname lan-b drop
  }
}
";
