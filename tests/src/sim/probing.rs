//! Probing: what a node with many peers sends on its own account, and how much work its core has with it.
//! A hub with peers that know nobody else, idle and with traffic to a tenth of them.

use std::time::Duration;

use super::{Bounds, NodePlan, Plan, Violation, World};

/// How long each state is watched, virtual seconds.
const WATCHED: u64 = 60;
/// How long the start takes, virtual seconds.
const STARTING: u64 = 10;
/// What the hub may send while a thousand peers come at once, bytes a second: four times what they may cost later.
const START_BYTES_PER_SECOND: u64 = 500_000;

/// What probing costs the hub.
#[derive(Debug, Clone, Copy)]
pub struct Probing {
    /// How many peers it has.
    pub peers: usize,
    /// In the ten seconds in which all peers come at once: handshakes, first probes, searches for the largest
    /// packet.
    pub start: Spent,
    /// Without any traffic.
    pub idle: Spent,
    /// With a packet each way every 200 ms to a tenth of the peers.
    pub busy: Spent,
}

/// What one state costs.
#[derive(Debug, Clone, Copy)]
pub struct Spent {
    /// Sent on the hub's own account, with IP and UDP headers.
    pub bytes_per_second: f64,
    /// The same in packets.
    pub packets_per_second: f64,
    /// Processor time of the whole simulation, hub and peers and the virtual network, by virtual time; 1 is
    /// one core. An upper bound of what the hub's core takes; real packets cost encryption and system
    /// calls besides. None where the kernel does not tell.
    pub cpu: Option<f64>,
}

/// Runs a hub with so many peers for five virtual minutes.
///
/// # Errors
/// If something happens that must not.
pub fn probing(peers: usize) -> Result<Probing, Violation> {
    let mut nodes = vec![NodePlan::public("hub")];
    nodes.extend((0..peers).map(|_| NodePlan {
        hears: Some(vec![0]),
        ..NodePlan::public("edge")
    }));
    // What is bounded is what probing costs from then on; the start is measured.
    let bounds = Bounds {
        control_bytes_per_second: START_BYTES_PER_SECOND,
        ..Bounds::default()
    };
    let mut world = World::new(&Plan::new(3, nodes), bounds);
    let start = watch(&mut world, STARTING)?;
    world.run(Duration::from_secs(110))?;
    let idle = watch(&mut world, WATCHED)?;
    for peer in 1..=peers.div_ceil(10) {
        let (every, time) = (Duration::from_millis(200), Duration::from_secs(90));
        world.send(0, peer, every, time);
        world.send(peer, 0, every, time);
    }
    world.run(Duration::from_secs(5))?;
    let busy = watch(&mut world, WATCHED)?;
    Ok(Probing {
        peers,
        start,
        idle,
        busy,
    })
}

fn watch(world: &mut World, seconds: u64) -> Result<Spent, Violation> {
    let ((bytes, packets), cpu) = (world.control_sent(0), processor_time());
    world.run(Duration::from_secs(seconds))?;
    let (bytes_after, packets_after) = world.control_sent(0);
    let per_second = |count: u64| count as f64 / seconds as f64;
    let spent = |before: Duration| processor_time()?.checked_sub(before);
    Ok(Spent {
        bytes_per_second: per_second(bytes_after - bytes),
        packets_per_second: per_second(packets_after - packets),
        cpu: cpu
            .and_then(spent)
            .map(|time| time.as_secs_f64() / seconds as f64),
    })
}

/// Processor time of this thread so far.
fn processor_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds = text.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}
