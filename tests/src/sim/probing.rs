//! Probing: what a node with many peers sends on its own account, and how much work its core has with it.
//! A hub with peers that know nobody else, idle and with traffic to a tenth of them.

use std::time::Duration;

use super::{Bounds, NodePlan, Plan, Violation, World};

/// How long each state is watched, virtual seconds.
const WATCHED: u64 = 60;

/// What probing costs the hub.
#[derive(Debug, Clone, Copy)]
pub struct Probing {
    /// How many peers it has.
    pub peers: usize,
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
    let mut world = World::new(&Plan::new(3, nodes), Bounds::default());
    world.run(Duration::from_secs(120))?;
    let idle = watch(&mut world)?;
    for peer in 1..=peers.div_ceil(10) {
        let (every, time) = (Duration::from_millis(200), Duration::from_secs(90));
        world.send(0, peer, every, time);
        world.send(peer, 0, every, time);
    }
    world.run(Duration::from_secs(5))?;
    let busy = watch(&mut world)?;
    Ok(Probing { peers, idle, busy })
}

fn watch(world: &mut World) -> Result<Spent, Violation> {
    let ((bytes, packets), cpu) = (world.control_sent(0), processor_time());
    world.run(Duration::from_secs(WATCHED))?;
    let (bytes_after, packets_after) = world.control_sent(0);
    let per_second = |count: u64| count as f64 / WATCHED as f64;
    let spent = |before: Duration| processor_time()?.checked_sub(before);
    Ok(Spent {
        bytes_per_second: per_second(bytes_after - bytes),
        packets_per_second: per_second(packets_after - packets),
        cpu: cpu
            .and_then(spent)
            .map(|time| time.as_secs_f64() / WATCHED as f64),
    })
}

/// Processor time of this thread so far.
fn processor_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds = text.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}
