//! Drawing: a plan and its disturbances from a seed.

use std::time::Duration;

use super::{Size, Step};
use crate::sim::chance::Chance;
use crate::sim::engine::Mode;
use crate::sim::nat::NatKind;
use crate::sim::net::{Area, INTERNET, Weather};
use crate::sim::plan::{NodePlan, Plan};
use crate::sim::world::Fault;
use crate::sim::{Memory, NodeId};

const ZONES: [&str; 4] = ["fra", "nyc", "sin", "home"];

pub(super) fn draw(seed: u64, size: Size) -> (Plan, Vec<Step>) {
    let mut chance = Chance::new(seed, 77);
    let mut plan = draw_plan(seed, size, &mut chance);
    // Another source: those without keep what they had.
    let mut rarely = Chance::new(seed, 80);
    if size.wide {
        widen(&mut plan, &mut rarely);
    }
    let mut steps: Vec<Step> = (0..size.steps)
        .map(|number| Step {
            after: wait(&mut chance),
            fault: drawn(&plan, size, &mut chance),
            // A few disturbances overlap, then comes a time to recover from them.
            settle: number % 4 == 3,
        })
        .collect();
    for (node, _) in plan.nodes.iter().enumerate().filter(|(_, plan)| plan.late) {
        let join = Step {
            after: wait(&mut rarely),
            fault: Fault::Join { node },
            settle: false,
        };
        steps.insert(rarely.below(steps.len()), join);
    }
    (plan, steps)
}

/// Nodes with IPv6, with filters, and one that comes later.
fn widen(plan: &mut Plan, chance: &mut Chance) {
    let filters: [&[&str]; 4] = [
        &["0.0.0.0/0", "::/0", "!10.0.0.0/8"],
        &["::/0", "0.0.0.0/0"],
        &["45.0.0.0/8", "203.0.0.0/8"],
        &["10.0.0.0/8", "0.0.0.0/0"],
    ];
    for node in &mut plan.nodes {
        node.six = chance.happens(400_000);
        if chance.happens(300_000) {
            let entries = chance.pick(&filters).iter();
            node.endpoints = Some(entries.map(|entry| (*entry).to_owned()).collect());
        }
    }
    if let [_, _, .., last] = plan.nodes.as_mut_slice() {
        last.late = chance.happens(400_000);
    }
}

pub(super) fn churn(seed: u64, nodes: usize, steps: usize, every: Duration) -> (Plan, Vec<Step>) {
    let mut chance = Chance::new(seed, 78);
    let nodes = (0..nodes).map(|number| {
        let home = if number % 10 == 9 { 1 } else { INTERNET };
        let mut node = NodePlan::at(&format!("zone-{}", number % 5), &[home]);
        node.latency += chance.up_to(Duration::from_millis(30));
        node
    });
    let mut plan = Plan::new(seed, nodes.collect());
    plan.sites = vec![NatKind::HOME];
    plan.servers = 2;
    let steps = (0..steps).map(|number| Step {
        after: every,
        fault: fault(&plan, &mut chance),
        settle: number % steps.div_ceil(4) == steps.div_ceil(4) - 1,
    });
    let steps = steps.collect();
    (plan, steps)
}

fn draw_plan(seed: u64, size: Size, chance: &mut Chance) -> Plan {
    let kinds = [
        NatKind::HOME,
        NatKind::HOME,
        NatKind::OPEN,
        NatKind::RESTRICTED,
        NatKind::SYMMETRIC,
    ];
    let sites: Vec<NatKind> = (0..1 + chance.below(2))
        .map(|_| chance.pick(&kinds))
        .collect();
    let count = 2 + chance.below(size.nodes.saturating_sub(1));
    let nodes = (0..count)
        .map(|_| draw_node(sites.len(), size, chance))
        .collect();
    let weather = chance.pick(&[
        Weather::default(),
        Weather::default(),
        Weather {
            jitter: Duration::from_millis(3),
            ..Weather::default()
        },
        Weather {
            loss_ppm: 10_000,
            duplicate_ppm: 1_000,
            reorder_ppm: 10_000,
            jitter: Duration::from_millis(2),
        },
    ]);
    Plan {
        seed,
        sites,
        nodes,
        servers: 1 + chance.below(2),
        weather,
    }
}

fn draw_node(sites: usize, size: Size, chance: &mut Chance) -> NodePlan {
    let first = if chance.happens(400_000) {
        1 + chance.below(sites)
    } else {
        INTERNET
    };
    let mut homes = vec![first];
    if chance.happens(300_000) {
        homes.push(INTERNET);
    }
    let kernel = size.kernel_every > 0 && chance.below(size.kernel_every) == 0;
    let zone = chance.below(ZONES.len() + 1);
    NodePlan {
        zone: ZONES.get(zone).map(|zone| (*zone).to_owned()),
        homes,
        mode: if kernel {
            Mode::Kernel
        } else {
            Mode::Userspace
        },
        skew_ms: skew(chance),
        latency: Duration::from_millis(1) + chance.up_to(Duration::from_millis(40)),
        hears: None,
        routed: false,
        endpoints: None,
        six: false,
        late: false,
    }
}

fn skew(chance: &mut Chance) -> i64 {
    chance.pick(&[0, 0, 0, 200, -200, 3_600_000, -3_600_000])
}

fn wait(chance: &mut Chance) -> Duration {
    let most = chance.pick(&[1, 1_000, 20_000, 60_000]);
    chance.up_to(Duration::from_millis(most))
}

fn lasting(chance: &mut Chance) -> Duration {
    let most = chance.pick(&[100, 2_000, 15_000, 45_000, 240_000]);
    Duration::from_millis(1) + chance.up_to(Duration::from_millis(most))
}

fn place(plan: &Plan, chance: &mut Chance) -> (NodeId, usize) {
    let node = chance.below(plan.nodes.len());
    (node, chance.below(plan.nodes[node].interfaces()))
}

fn area(plan: &Plan, chance: &mut Chance) -> Area {
    let (node, interface) = place(plan, chance);
    match chance.below(8) {
        0 => Area::Anywhere,
        1 => Area::Server(chance.below(plan.servers)),
        2 => Area::Group(u128::from(chance.number())),
        3 => Area::Realm(chance.below(plan.sites.len() + 1)),
        4 | 5 => Area::Interface(node, interface),
        _ => Area::Node(node),
    }
}

fn drawn(plan: &Plan, size: Size, chance: &mut Chance) -> Fault {
    if size.wide && chance.happens(300_000) {
        rare(plan, chance)
    } else {
        fault(plan, chance)
    }
}

fn rare(plan: &Plan, chance: &mut Chance) -> Fault {
    let (node, interface) = place(plan, chance);
    let time = lasting(chance);
    match chance.below(4) {
        0 => Fault::Leave {
            node,
            // A leave waits for a server to store it.
            time: time + Duration::from_secs(5),
        },
        1 => Fault::Storm {
            time: time.min(Duration::from_secs(30)),
        },
        2 => Fault::Dark {
            node,
            interface,
            time,
        },
        _ => Fault::Hole {
            node,
            interface,
            bytes: chance.pick(&[576, 1280, 1400]),
            time,
        },
    }
}

fn fault(plan: &Plan, chance: &mut Chance) -> Fault {
    let (node, interface) = place(plan, chance);
    let time = lasting(chance);
    match chance.below(20) {
        0..=4 => Fault::Cut {
            from: Area::Interface(node, interface),
            to: area(plan, chance),
            both: chance.happens(500_000),
            time,
        },
        5 => Fault::Cut {
            from: area(plan, chance),
            to: area(plan, chance),
            both: chance.happens(500_000),
            time,
        },
        6 | 7 => Fault::LinkDown {
            node,
            interface,
            time,
        },
        8 | 9 => Fault::NewAddress { node, interface },
        10..=12 => Fault::Restart {
            node,
            memory: chance.pick(&[Memory::Disk, Memory::Disk, Memory::Disk, Memory::Keys]),
            time: time.min(Duration::from_secs(30)),
            skew_ms: skew(chance),
        },
        13 => Fault::Suspend { node, time },
        14 => Fault::Clock {
            node,
            skew_ms: skew(chance),
        },
        15 => Fault::Rebind {
            realm: 1 + chance.below(plan.sites.len()),
            moves: chance.happens(300_000),
        },
        16 => Fault::Outage {
            server: chance.below(plan.servers),
            empty: chance.happens(300_000),
            time,
        },
        17 => Fault::Weather {
            node,
            interface,
            weather: bad_weather(chance),
            time,
        },
        18 => Fault::Zone {
            node,
            zone: chance.pick(&ZONES).to_owned(),
        },
        _ => Fault::Traffic {
            from: node,
            to: chance.below(plan.nodes.len()),
            every: Duration::from_millis(20),
            time: Duration::from_secs(30),
        },
    }
}

fn bad_weather(chance: &mut Chance) -> Weather {
    Weather {
        loss_ppm: chance.pick(&[10_000, 50_000, 200_000]),
        duplicate_ppm: 20_000,
        reorder_ppm: 50_000,
        jitter: chance.up_to(Duration::from_millis(60)),
    }
}
