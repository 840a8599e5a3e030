//! Minutes of bulk data in both directions, as much as the tunnel takes: no path may be suspected, nothing
//! may switch and no session may be torn down.

use std::thread;
use std::time::{Duration, Instant};

use super::net::{Side, Way};
use super::pair::{Pair, direction_to};
use super::repetition::{count, numbers, rest};
use super::report::Row;
use super::stream::INTERVAL;
use super::world::World;
use crate::lab::process::{Daemon, logged};
use crate::lab::{LabError, packages, wait};

const PORT: &str = "5301";
/// How often events are collected: the daemons keep only so many.
const COLLECT: Duration = Duration::from_secs(5);
const SERVER_LIMIT: Duration = Duration::from_secs(20);
/// For iperf3 to say goodbye.
const GRACE: Duration = Duration::from_secs(30);

/// Fills the tunnel for `minutes`, beside the small stream; one sample per direction of that. Returns what
/// went through, in words.
///
/// # Errors
/// If the mesh does not come to rest, or iperf3 fails.
pub fn run(world: &mut World, minutes: f64, row: &mut Row) -> Result<String, LabError> {
    packages::provide_for_throughput()?;
    let pair = Pair::start(&world.net, rest(world, None)?)?;
    rest(world, Some(&pair))?;
    let log = world.dir().join("iperf3.json");
    let mut server = world.net.node(Side::B).command("iperf3");
    server.args(["-s", "-p", PORT]);
    let server = logged(server, &world.dir().join("iperf3-server.log"))?;
    let _server = Daemon::spawn("the iperf3 server", server)?;
    wait::until("the iperf3 server", SERVER_LIMIT, || {
        let listening = world.net.node(Side::B).run("ss", &["-Hltn"]);
        let listening = listening.map_err(|error| error.to_string())?;
        let found = listening.contains(&format!(":{PORT} "));
        found.then_some(()).ok_or(listening)
    })?;
    let _ = std::fs::remove_file(&log);
    let seconds = (minutes * 60.0).ceil();
    let target = world.net.address(Side::B, Way::First).to_string();
    let mut client = world.net.node(Side::A).command("iperf3");
    client.args(["-J", "--bidir", "-p", PORT, "-c", &target]);
    client.args(["-t", &seconds.to_string()]);
    let mut before = numbers(world)?;
    let start = Instant::now();
    let mut client = Daemon::spawn("iperf3", logged(client, &log)?)?;
    let end = start + Duration::from_secs_f64(seconds);
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        thread::sleep(left.min(COLLECT));
        count(world, &mut before, row);
    }
    let status = client.wait(GRACE)?;
    count(world, &mut before, row);
    for to in Side::ALL {
        let gap = pair.to(to).arrivals().longest_gap(start, Instant::now());
        let gap = gap.saturating_sub(INTERVAL);
        row.add(direction_to(to), gap.as_secs_f64() * 1000.0);
    }
    let text = std::fs::read_to_string(&log).unwrap_or_default();
    match rates(&text) {
        Some([out, back]) if status.success() => {
            Ok(format!("{out:.2} Gbit/s one way, {back:.2} the other"))
        }
        _ => Err(LabError::Unusable(format!("iperf3 ({status}): {text}"))),
    }
}

/// Gbit/s that arrived, from the client and back.
fn rates(json: &str) -> Option<[f64; 2]> {
    let report: serde_json::Value = serde_json::from_str(json).ok()?;
    let rate = |name: &str| {
        let bits = report["end"][name]["bits_per_second"].as_f64()?;
        Some(bits / 1e9)
    };
    Some([rate("sum_received")?, rate("sum_received_bidir_reverse")?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_of_both_directions() {
        let json = r#"{"end": {"sum_received": {"bits_per_second": 2e9},
            "sum_received_bidir_reverse": {"bits_per_second": 5e8}}}"#;
        assert_eq!(rates(json), Some([2.0, 0.5]));
        assert_eq!(rates("{}"), None);
    }
}
