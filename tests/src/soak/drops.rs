//! What the daemons say they have dropped, by name, out of their metrics: so that a lost packet has a place.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::lab::namespace::Entry;
use crate::lab::{Lab, LabError};

const ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 1], 9740);
const PATIENCE: Duration = Duration::from_secs(10);
const METRIC: &str = "meshd_dropped_packets_total{reason=\"";

/// Counters of drops that are not 0: `node reason` and the number.
pub type Drops = BTreeMap<String, u64>;

/// Settings of a node that can be asked.
#[must_use]
pub fn settings() -> Value {
    json!({ "metrics": { "listen": SocketAddr::from(ADDRESS).to_string() } })
}

/// The counters of these nodes.
///
/// # Errors
/// If one does not answer.
pub fn read(lab: &Lab, nodes: &[&str]) -> Result<Drops, LabError> {
    let mut drops = Drops::new();
    for node in nodes {
        let text = metrics(lab.machine(node)?.entry())?;
        let counters = parse(&text);
        drops.extend(counters.map(|(reason, value)| (format!("{node} {reason}"), value)));
    }
    Ok(drops)
}

/// What has grown since `before`.
#[must_use]
pub fn grown(before: &Drops, after: Drops) -> Drops {
    let grown = after.into_iter().map(|(name, value)| {
        let known = before.get(&name).copied().unwrap_or(0);
        (name, value.saturating_sub(known))
    });
    grown.filter(|(_, value)| *value > 0).collect()
}

fn parse(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (reason, value) = line.strip_prefix(METRIC)?.split_once("\"}")?;
        Some((reason, value.trim().parse().ok()?))
    })
}

fn metrics(entry: &Entry) -> Result<String, LabError> {
    let entry = entry.clone();
    let asked = thread::spawn(move || {
        entry.enter_network()?;
        ask().map_err(LabError::io("read a daemon's metrics"))
    });
    let gone = || LabError::Unusable("the thread that reads metrics is gone".to_owned());
    asked.join().map_err(|_| gone())?
}

fn ask() -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&ADDRESS.into(), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_and_only_growth_is_told() {
        let text = "HTTP/1.1 200 OK\r\n\r\n# HELP x\n\
                    meshd_dropped_packets_total{reason=\"tun_queue\"} 12\n\
                    meshd_dropped_packets_total{reason=\"replayed\"} 3\n\
                    meshd_members 1\n";
        let found: Vec<_> = parse(text).collect();
        assert_eq!(found, [("tun_queue", 12), ("replayed", 3)]);
        let drops = |pairs: &[(&str, u64)]| -> Drops {
            let pairs = pairs.iter();
            pairs
                .map(|(name, value)| ((*name).to_owned(), *value))
                .collect()
        };
        let before = drops(&[("a1 replayed", 3)]);
        let after = drops(&[("a1 replayed", 3), ("a1 tun_queue", 12)]);
        assert_eq!(grown(&before, after), drops(&[("a1 tun_queue", 12)]));
    }
}
