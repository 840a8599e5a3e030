//! Builds the networks of a plan: backbone, routers, LANs, nodes, pods. Every link is made inside the
//! lab's namespaces, so that nothing ever appears on the host.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use super::error::LabError;
use super::namespace::Namespace;
use super::plan::{DISCOVERY_ADDRESS, Node, Placement, Plan, Zone};

/// Name of the backbone's machine.
pub const BACKBONE: &str = "backbone";
/// Name of the discovery server's machine.
pub const DISCOVERY: &str = "discovery";

/// Machines of a lab by name, joined as planned.
#[derive(Debug)]
pub struct Network {
    machines: BTreeMap<String, Namespace>,
}

/// Name of the machine that routes a zone.
#[must_use]
pub fn router_name(zone: &str) -> String {
    format!("router-{zone}")
}

impl Network {
    /// Builds everything; `bin_dir` comes first in the `PATH` of every machine.
    ///
    /// # Errors
    /// If not root or a command fails; what was built is removed.
    pub fn build(plan: &Plan, bin_dir: &Path) -> Result<Self, LabError> {
        let mut network = Self {
            machines: BTreeMap::new(),
        };
        for name in machine_names(plan) {
            let machine = Namespace::create(&name, bin_dir)?;
            machine.script(&sysctls(plan.rp_filter))?;
            network.machines.insert(name, machine);
        }
        network.backbone(plan)?;
        for zone in &plan.zones {
            network.router(plan, zone)?;
            for node in &zone.nodes {
                network.node(zone, node)?;
            }
        }
        Ok(network)
    }

    /// The machine of this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn machine(&self, name: &str) -> Result<&Namespace, LabError> {
        self.machines.get(name).ok_or_else(|| {
            let names: Vec<_> = self.machines.keys().map(String::as_str).collect();
            LabError::Unusable(format!("no machine {name}; there are {}", names.join(", ")))
        })
    }

    /// Every machine, by name.
    pub fn machines(&self) -> impl Iterator<Item = &Namespace> {
        self.machines.values()
    }

    fn backbone(&self, plan: &Plan) -> Result<(), LabError> {
        let backbone = self.machine(BACKBONE)?;
        backbone.script(&format!(
            "{}ip address add 198.51.100.1/24 dev lan\n",
            bridge("lan")
        ))?;
        for zone in &plan.zones {
            let router = self.machine(&router_name(&zone.name))?;
            join((backbone, &format!("r{}", zone.name)), (router, "wan"))?;
            backbone.script(&port(&format!("r{}", zone.name)))?;
            for prefix in zone.prefixes().into_iter().filter(|_| !zone.nat) {
                let via = zone.router_outside().to_string();
                backbone.run("ip", &["route", "add", &prefix.to_string(), "via", &via])?;
            }
        }
        if plan.discovery == Placement::Outside {
            let server = self.machine(DISCOVERY)?;
            join((backbone, DISCOVERY), (server, "eth0"))?;
            backbone.script(&format!(
                "ip address add 203.0.113.1/24 dev {DISCOVERY}\nip link set {DISCOVERY} up\n"
            ))?;
            server.script(&format!(
                "ip address add {DISCOVERY_ADDRESS}/24 dev eth0\nip link set eth0 up\n\
                 ip route add default via 203.0.113.1\n"
            ))?;
        }
        Ok(())
    }

    fn router(&self, plan: &Plan, zone: &Zone) -> Result<(), LabError> {
        let router = self.machine(&router_name(&zone.name))?;
        let (inside, outside) = (zone.router_inside(), zone.router_outside());
        let mut script = format!(
            "{}ip address add {inside}/24 dev lan\nip address add {outside}/24 dev wan\n\
             ip link set wan up\nip route add default via 198.51.100.1\n",
            bridge("lan")
        );
        for extra in zone.nodes.iter().flat_map(|node| &node.extra_addresses) {
            let net = extra.trunc();
            let gateway = net.hosts().next().unwrap_or(net.network());
            let _ = writeln!(
                script,
                "ip address replace {gateway}/{} dev lan",
                net.prefix_len()
            );
        }
        for node in &zone.nodes {
            let _ = writeln!(script, "ip route add {} via {}", node.pods, node.address);
        }
        for other in plan.zones.iter().filter(|other| other.name != zone.name) {
            for prefix in other.prefixes() {
                let _ = writeln!(
                    script,
                    "ip route add {prefix} via {}",
                    other.router_outside()
                );
            }
        }
        if zone.nat {
            script.push_str(NAT);
        }
        router.script(&script)?;
        Ok(())
    }

    fn node(&self, zone: &Zone, node: &Node) -> Result<(), LabError> {
        let router = self.machine(&router_name(&zone.name))?;
        let machine = self.machine(&node.name)?;
        let pod = self.machine(&node.pod_name())?;
        join((router, &node.name), (machine, "eth0"))?;
        join((machine, "cni0"), (pod, "eth0"))?;
        router.script(&port(&node.name))?;
        let gateway = node.pod_gateway();
        let mut script = format!(
            "ip address add {}/24 dev eth0\nip link set eth0 up\n\
             ip route add default via {}\n\
             ip address add {gateway}/24 dev cni0\nip link set cni0 up\n",
            node.address,
            zone.router_inside()
        );
        for extra in &node.extra_addresses {
            let _ = writeln!(script, "ip address add {extra} dev eth0");
        }
        // What a CNI does inside a site: pods of the neighbours are reached directly.
        for other in zone.nodes.iter().filter(|other| other.name != node.name) {
            let _ = writeln!(script, "ip route add {} via {}", other.pods, other.address);
        }
        machine.script(&script)?;
        pod.script(&format!(
            "ip address add {}/24 dev eth0\nip link set eth0 up\nip route add default via {gateway}\n",
            node.pod_address()
        ))?;
        Ok(())
    }
}

/// A home router: hides what is behind it, and lets only answers in.
const NAT: &str = "nft -f - <<END
table ip nat {
  chain postrouting {
    type nat hook postrouting priority srcnat
    oifname wan masquerade
  }
}
table ip filter {
  chain forward {
    type filter hook forward priority filter
    ct state established,related accept
    iifname wan drop
  }
}
END
";

fn machine_names(plan: &Plan) -> Vec<String> {
    let mut names = vec![BACKBONE.to_owned()];
    if plan.discovery == Placement::Outside {
        names.push(DISCOVERY.to_owned());
    }
    names.extend(plan.zones.iter().map(|zone| router_name(&zone.name)));
    for node in plan.nodes() {
        names.extend([node.name.clone(), node.pod_name()]);
    }
    names
}

/// Set before any link exists, so that later ones (the mesh's too) inherit them.
pub(crate) fn sysctls(rp_filter: u8) -> String {
    format!(
        "set +x
cd /proc/sys/net
for scope in all default; do
  echo {rp_filter} > ipv4/conf/$scope/rp_filter
  echo 0 > ipv6/conf/$scope/disable_ipv6
  echo 0 > ipv6/conf/$scope/accept_dad
  echo 0 > ipv6/conf/$scope/router_solicitations
done
echo 1 > ipv4/ip_forward
# Bridged frames are not the firewall's business.
for hook in arptables iptables ip6tables; do
  if [ -e bridge/bridge-nf-call-$hook ]; then echo 0 > bridge/bridge-nf-call-$hook; fi
done
"
    )
}

fn bridge(name: &str) -> String {
    format!("ip link add {name} type bridge stp_state 0 mcast_snooping 0\nip link set {name} up\n")
}

fn port(name: &str) -> String {
    format!("ip link set {name} master lan up\n")
}

/// A cable between two machines.
pub(crate) fn join(one: (&Namespace, &str), other: (&Namespace, &str)) -> Result<(), LabError> {
    let (one_pid, other_pid) = (one.0.pid().to_string(), other.0.pid().to_string());
    one.0.run(
        "ip",
        &[
            "link", "add", one.1, "netns", &one_pid, "type", "veth", "peer", "name", other.1,
            "netns", &other_pid,
        ],
    )?;
    Ok(())
}
