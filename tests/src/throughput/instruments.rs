//! The measurements: streams, small datagrams, round trips, memory.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use super::Options;
use super::cpu::{self, CpuTime};
use super::rig::Rig;
use super::subject::Running;
use crate::lab::LabError;
use crate::lab::process::Daemon;

const PINGS: usize = 1000;

/// Which way the data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// From the left end to the right.
    There,
    /// From the right end to the left.
    Back,
}

/// One number.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    /// Behind the name of the test.
    pub(super) suffix: &'static str,
    pub(super) value: f64,
    pub(super) unit: &'static str,
    /// Processor seconds of the whole machine.
    pub(super) cpu_s_per_gbit: Option<f64>,
    /// Those of the implementation's processes on both ends.
    pub(super) daemon_cpu_s_per_gbit: Option<f64>,
}

impl Reading {
    pub(super) const fn new(suffix: &'static str, value: f64, unit: &'static str) -> Self {
        Self {
            suffix,
            value,
            unit,
            cpu_s_per_gbit: None,
            daemon_cpu_s_per_gbit: None,
        }
    }
}

/// TCP streams; Gbit/s at the receiver.
pub(super) fn tcp(
    rig: &Rig,
    running: &Running,
    streams: u32,
    direction: Direction,
    options: &Options,
) -> Result<Vec<Reading>, LabError> {
    let mut arguments = vec!["--parallel".to_owned(), streams.to_string()];
    if direction == Direction::Back {
        arguments.push("--reverse".to_owned());
    }
    if let Some(name) = &options.congestion {
        arguments.extend(["--congestion".to_owned(), name.clone()]);
    }
    let pids = running.pids();
    let before = CpuTime::read(&pids);
    let result = iperf(rig, running, options.length, &arguments)?;
    let used = CpuTime::read(&pids).since(before);
    let received = &result["end"]["sum_received"];
    let gbits = number(&received["bytes"])? * 8.0 / 1e9;
    let rate = number(&received["bits_per_second"])? / 1e9;
    let suffix = match direction {
        Direction::There => "",
        Direction::Back => "-back",
    };
    let has_daemons = !pids.is_empty();
    Ok(vec![Reading {
        cpu_s_per_gbit: Some(used.machine / gbits),
        daemon_cpu_s_per_gbit: has_daemons.then_some(used.processes / gbits),
        ..Reading::new(suffix, rate, "Gbit/s")
    }])
}

/// Round trips while nothing else happens; median and 99th percentile.
pub(super) fn ping(rig: &Rig, running: &Running) -> Result<Vec<Reading>, LabError> {
    let count = PINGS.to_string();
    let arguments = [
        "-n",
        "-i",
        "0.005",
        "-c",
        &count,
        "-I",
        &running.source,
        &running.target,
    ];
    let text = rig.left.run("ping", &arguments)?;
    let mut times: Vec<f64> = text.lines().filter_map(round_trip).collect();
    if times.is_empty() {
        return Err(LabError::Unusable("no ping came back".to_owned()));
    }
    times.sort_by(f64::total_cmp);
    let rank = |percent: usize| times[(times.len() * percent).div_ceil(100).max(1) - 1] * 1000.0;
    Ok(vec![
        Reading::new("", rank(50), "us"),
        Reading::new("-p99", rank(99), "us"),
    ])
}

/// Round trips beside one TCP stream.
pub(super) fn ping_under_load(
    rig: &Rig,
    running: &Running,
    length: Duration,
) -> Result<Vec<Reading>, LabError> {
    let mut command = rig.left.command("iperf3");
    let seconds = (length.as_secs() + 8).to_string();
    command.args([
        "--client",
        &running.target,
        "--bind",
        &running.source,
        "--time",
        &seconds,
    ]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let load = Daemon::spawn("iperf3", command)?;
    let result = ping(rig, running);
    let _ = load.stop(Duration::from_secs(5));
    result
}

/// Resident memory of the larger of both ends' processes.
pub(super) fn memory(running: &Running) -> Vec<Reading> {
    let largest = running
        .pids()
        .into_iter()
        .map(cpu::resident)
        .fold(0.0, f64::max);
    vec![Reading::new("", largest, "MiB")]
}

/// One run of iperf3 from the left end; what it reports.
pub(super) fn iperf(
    rig: &Rig,
    running: &Running,
    length: Duration,
    arguments: &[String],
) -> Result<Value, LabError> {
    let seconds = length.as_secs().max(1).to_string();
    let mut all = vec![
        "--json",
        "--client",
        &running.target,
        "--bind",
        &running.source,
    ];
    all.extend(["--time", &seconds]);
    all.extend(arguments.iter().map(String::as_str));
    let text = rig.left.run("iperf3", &all)?;
    let result: Value = serde_json::from_str(&text)
        .map_err(|error| LabError::Unusable(format!("iperf3 wrote no JSON: {error}")))?;
    match result["error"].as_str() {
        Some(error) => Err(LabError::Unusable(format!("iperf3: {error}"))),
        None => Ok(result),
    }
}

/// A number in such a report.
pub(super) fn number(value: &Value) -> Result<f64, LabError> {
    value
        .as_f64()
        .ok_or_else(|| LabError::Unusable(format!("iperf3 wrote {value} for a number")))
}

/// Milliseconds in a line of ping.
fn round_trip(line: &str) -> Option<f64> {
    let (_, rest) = line.split_once("time=")?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_ping() {
        let line = "64 bytes from 10.9.2.1: icmp_seq=1 ttl=64 time=0.213 ms";
        assert_eq!(round_trip(line), Some(0.213));
        assert_eq!(round_trip("--- 10.9.2.1 ping statistics ---"), None);
    }
}
