//! The lab the demo works on, and how its machines looked before any daemon ran.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::json;

use crate::lab::capture::Capture;
use crate::lab::network::BACKBONE;
use crate::lab::ping::{Marker, Ping};
use crate::lab::plan::{Node, Plan};
use crate::lab::snapshot::Snapshot;
use crate::lab::{Lab, LabError};

/// Payload of the demo's pings: nothing else on the wire looks like it.
pub(crate) const MARKER: Marker = *b"mesh-demo-marker";
/// A range that b1 prefers to be reached at, b2 keeps to itself, and a2 does not dial.
pub(crate) const FILTERED: &str = "192.168.0.0/16";

/// Time for all tunnels to come up.
pub(crate) const TUNNEL_LIMIT: Duration = Duration::from_secs(30);

/// The demo's lab.
#[derive(Debug)]
pub struct Stage {
    /// The lab.
    pub lab: Lab,
    /// The host before anything was built.
    pub(crate) host: Snapshot,
    /// Every node before its daemon started.
    pub(crate) bare: BTreeMap<String, Snapshot>,
    /// Routes inside the zones before the daemons started.
    pub(crate) native_routes: BTreeMap<(String, Ipv4Addr), String>,
    /// What crosses the backbone from the moment the daemons start.
    pub(crate) backbone: Mutex<Option<Capture>>,
}

impl Stage {
    pub(crate) fn build(name: &str, bin_dir: &Path) -> Result<Self, LabError> {
        let host = Snapshot::of_host()?;
        let lab = Lab::build(name, plan()?, bin_dir)?;
        let mut bare = BTreeMap::new();
        for node in lab.plan.nodes() {
            bare.insert(node.name.clone(), Snapshot::of(lab.machine(&node.name)?)?);
        }
        let native_routes = native_routes(&lab)?;
        Ok(Self {
            lab,
            host,
            bare,
            native_routes,
            backbone: Mutex::default(),
        })
    }

    /// Names of all nodes.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.lab
            .plan
            .nodes()
            .map(|node| node.name.as_str())
            .collect()
    }

    /// Starts to capture on the backbone.
    pub(crate) fn capture_backbone(&self) -> Result<Capture, LabError> {
        Capture::start(self.lab.machine(BACKBONE)?)
    }
}

/// The demo's plan: three zones of two, reverse path filters strict, addresses to filter in zone b.
pub(crate) fn plan() -> Result<Plan, LabError> {
    let mut plan = Plan::new(3, 2)?;
    for (name, address, endpoints) in [
        (
            "b1",
            "192.168.2.11/24",
            json!([FILTERED, "0.0.0.0/0", "::/0"]),
        ),
        (
            "b2",
            "192.168.2.12/24",
            json!(["0.0.0.0/0", "::/0", format!("!{FILTERED}")]),
        ),
    ] {
        let node = plan.node_mut(name)?;
        node.extra_addresses = vec![address.parse().expect("written here")];
        node.settings = json!({ "filters": { "endpoints": endpoints } });
    }
    let dialled = json!(["0.0.0.0/0", "::/0", format!("!{FILTERED}")]);
    plan.node_mut("a2")?.settings = json!({ "filters": { "peerEndpoints": dialled } });
    Ok(plan)
}

/// The kernel's answer for every address of every neighbour in the zone.
pub(crate) fn native_routes(lab: &Lab) -> Result<BTreeMap<(String, Ipv4Addr), String>, LabError> {
    let mut routes = BTreeMap::new();
    for (from, to) in lab.plan.zone_pairs() {
        for address in [to.address, to.pod_address()] {
            let machine = lab.machine(&from.name)?;
            let text = machine.run("ip", &["-o", "route", "get", &address.to_string()])?;
            let route = text.split_whitespace().collect::<Vec<_>>().join(" ");
            routes.insert((from.name.clone(), address), route);
        }
    }
    Ok(routes)
}

/// Marked pings between nodes, between pods, and between the two, for ordered pairs of nodes.
pub(crate) fn pings<'l>(lab: &'l Lab, pairs: &[(&Node, &Node)]) -> Result<Vec<Ping<'l>>, LabError> {
    let mut pings = Vec::new();
    for (from, to) in pairs {
        for machine in [from.name.clone(), from.pod_name()] {
            for address in [to.address, to.pod_address()] {
                pings.push(Ping {
                    marker: Some(MARKER),
                    ..Ping::quick(lab.machine(&machine)?, address.into())
                });
            }
        }
    }
    Ok(pings)
}
