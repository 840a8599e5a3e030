//! What a flood to one peer leaves to another: three daemons in three zones, iperf3, and the share that a
//! second flow gets of what would be fair. Measures; whoever calls it judges.

mod report;

pub use report::{Case, Report};

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::lab::namespace::{Entry, checked};
use crate::lab::process::Daemon;
use crate::lab::{Lab, LabError, Plan};

const NODES: [&str; 3] = ["a1", "b1", "c1"];
const TUNNEL_LIMIT: Duration = Duration::from_secs(30);
/// UDP payload.
const PACKET_BYTES: &str = "1200";
/// The flood starts so much earlier and ends so much later than the other flow.
const MARGIN: Duration = Duration::from_millis(1500);
const FLOOD_PORT: u16 = 5301;
const OTHER_PORT: u16 = 5302;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name of the lab.
    pub name: String,
    /// Repetitions of everything.
    pub rounds: u32,
    /// Length of the other flow.
    pub length: Duration,
}

/// Who floods whom, and whose flow is watched: sender and receiver of each.
const PLACES: [(&str, [&str; 2], [&str; 2]); 2] = [
    ("sender", ["a1", "b1"], ["a1", "c1"]),
    ("receiver", ["a1", "c1"], ["b1", "c1"]),
];

/// What a flow consists of.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// As much as it can.
    Flood,
    /// UDP at this rate, bits per second.
    Udp(f64),
    /// One stream.
    Tcp,
}

/// Runs everything with the programs in `bin_dir`; says what it does to `note`.
///
/// # Errors
/// If the lab cannot be built, or iperf3 fails alone; beside a flood that is told and left out.
pub fn run(options: &Options, bin_dir: &Path, note: &dyn Fn(&str)) -> Result<Report, LabError> {
    let lab = Lab::build(&options.name, Plan::new(3, 1)?, bin_dir)?;
    lab.start_all()?;
    lab.wait_tunnels(&NODES, TUNNEL_LIMIT)?;
    let mut report = Report::default();
    for round in 1..=options.rounds {
        for (place, flood, other) in PLACES {
            note(&format!("round {round} of {}: {place}", options.rounds));
            let length = options.length;
            let flooded = flow(&lab, flood, FLOOD_PORT, Kind::Flood, length)?.rate()?;
            let alone = flow(&lab, other, OTHER_PORT, Kind::Tcp, length)?.rate()?;
            for (kind, name, alone) in [
                (Kind::Udp(flooded / 2.0), "udp", flooded),
                (Kind::Tcp, "tcp", alone),
            ] {
                let got = match beside_flood(&lab, flood, other, kind, length) {
                    Ok(got) => got,
                    Err(error) => {
                        note(&format!(
                            "round {round}, {place}, {name} beside the flood: {error}"
                        ));
                        continue;
                    }
                };
                report.cases.push(Case {
                    round,
                    place: place.to_owned(),
                    flow: name.to_owned(),
                    alone_mbit: alone / 1e6,
                    got_mbit: got / 1e6,
                });
            }
        }
    }
    Ok(report)
}

/// What the other flow gets while the flood runs, bits per second.
fn beside_flood(
    lab: &Lab,
    flood: [&str; 2],
    other: [&str; 2],
    kind: Kind,
    length: Duration,
) -> Result<f64, LabError> {
    let flooding = Flow::start(lab, flood, FLOOD_PORT, Kind::Flood, length + 2 * MARGIN)?;
    thread::sleep(MARGIN);
    let got = flow(lab, other, OTHER_PORT, kind, length)?.rate()?;
    flooding.finish()?;
    Ok(got)
}

fn flow(
    lab: &Lab,
    ends: [&str; 2],
    port: u16,
    kind: Kind,
    length: Duration,
) -> Result<Outcome, LabError> {
    Flow::start(lab, ends, port, kind, length)?.finish()
}

/// A running flow with its server.
#[derive(Debug)]
struct Flow {
    client: thread::JoinHandle<Result<Output, LabError>>,
    server: Daemon,
}

/// What iperf3 says.
#[derive(Debug)]
struct Outcome(Value);

impl Flow {
    fn start(
        lab: &Lab,
        [from, to]: [&str; 2],
        port: u16,
        kind: Kind,
        length: Duration,
    ) -> Result<Self, LabError> {
        let target = lab.plan.node(to)?.address;
        let mut server = lab.machine(to)?.entry().command("iperf3");
        server.args(["--server", "--port", &port.to_string()]);
        server
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let server = Daemon::spawn("iperf3", server)?;
        let command = client(lab.machine(from)?.entry(), target, port, kind, length);
        let client = thread::spawn(move || run_client(command));
        Ok(Self { client, server })
    }

    fn finish(self) -> Result<Outcome, LabError> {
        let gone = || LabError::Unusable("the thread of iperf3 is gone".to_owned());
        let output = self.client.join().map_err(|_| gone())?;
        self.server.kill();
        let text = checked("iperf3", output?)?;
        let result = serde_json::from_str(&text)
            .map_err(|error| LabError::Unusable(format!("iperf3's JSON: {error}")))?;
        Ok(Outcome(result))
    }
}

impl Outcome {
    /// Bits per second that arrived.
    fn rate(&self) -> Result<f64, LabError> {
        let end = &self.0["end"];
        let received = &end["sum_received"]["bits_per_second"];
        // Older ones tell of UDP in one place, with the share that was lost.
        let of_udp = || {
            let lost = end["sum"]["lost_percent"].as_f64()?;
            Some(end["sum"]["bits_per_second"].as_f64()? * (1.0 - lost / 100.0))
        };
        let rate = received.as_f64().or_else(of_udp);
        rate.ok_or_else(|| LabError::Unusable(format!("iperf3 tells no rate: {}", self.0["error"])))
    }
}

fn client(entry: &Entry, to: Ipv4Addr, port: u16, kind: Kind, length: Duration) -> Command {
    // The server may not listen yet.
    let script = r#"for try in $(seq 50); do
        out=$(iperf3 "$@") && break; sleep 0.2; done; printf '%s' "$out""#;
    let mut command = entry.command("sh");
    command.args([
        "-c",
        script,
        "iperf3",
        "--json",
        "--client",
        &to.to_string(),
    ]);
    command.args(["--port", &port.to_string()]);
    command.args(["--time", &length.as_secs().max(1).to_string()]);
    let udp = ["--udp", "--length", PACKET_BYTES];
    match kind {
        Kind::Flood => {
            command
                .args(udp)
                .args(["--bitrate", "0", "--window", "208K"]);
        }
        Kind::Udp(rate) => {
            command.args(udp).args(["--bitrate", &format!("{rate:.0}")]);
        }
        Kind::Tcp => {}
    }
    command
}

fn run_client(mut command: Command) -> Result<Output, LabError> {
    let command = command.stdin(Stdio::null()).stderr(Stdio::piped());
    command.output().map_err(LabError::io("run iperf3"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_arrived_counts() {
        let rate = |end: Value| Outcome(json!({ "end": end })).rate();
        let tcp = json!({ "sum_received": { "bits_per_second": 5e9 } });
        assert_eq!(rate(tcp).unwrap(), 5e9);
        let udp = json!({ "sum": { "bits_per_second": 1e9, "lost_percent": 25.0 } });
        assert_eq!(rate(udp).unwrap(), 0.75e9);
        assert!(rate(json!({})).is_err());
    }
}
