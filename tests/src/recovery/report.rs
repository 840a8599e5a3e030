//! The result: every sample as JSON, percentiles as a table. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

/// All scenarios of a run.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Report {
    /// In the order they ran.
    pub scenarios: Vec<Row>,
}

/// One scenario.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// WireGuard implementation; `wireguard-go` for the baseline.
    pub backend: String,
    /// One sample per repetition and direction, milliseconds.
    pub samples_ms: Vec<f64>,
    /// Path switches, both nodes together.
    pub switches: u64,
    /// The same samples by direction: `a->b`, `b->a`.
    pub directions: BTreeMap<String, Vec<f64>>,
    /// Samples that hit the limit: the stream had not come back by then.
    pub unrecovered: usize,
    /// Events of both nodes by kind.
    pub events: BTreeMap<String, u64>,
}

impl Row {
    /// An empty row.
    #[must_use]
    pub fn new(name: impl Into<String>, backend: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            backend: backend.into(),
            samples_ms: Vec::new(),
            switches: 0,
            directions: BTreeMap::new(),
            unrecovered: 0,
            events: BTreeMap::new(),
        }
    }

    /// Adds a sample.
    pub fn add(&mut self, direction: &str, ms: f64) {
        // A tenth of a millisecond is more than the clock of a busy machine is worth.
        let ms = (ms * 10.0).round() / 10.0;
        self.samples_ms.push(ms);
        self.directions
            .entry(direction.to_owned())
            .or_default()
            .push(ms);
    }

    /// Events of a kind.
    #[must_use]
    pub fn count(&self, kind: &str) -> u64 {
        self.events.get(kind).copied().unwrap_or_default()
    }
}

impl Report {
    /// A row a scenario: p50, p90, p99 (nearest rank), maximum, number of samples, switches, and how
    /// often a tunnel went down.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:<38} {:<13} {:>9} {:>9} {:>9} {:>9} {:>5} {:>9} {:>5}\n",
            "SCENARIO", "BACKEND", "P50", "P90", "P99", "MAX", "N", "SWITCHES", "DOWN"
        );
        for row in &self.scenarios {
            let mut sorted = row.samples_ms.clone();
            sorted.sort_by(f64::total_cmp);
            let cell = |percent| {
                nearest_rank(&sorted, percent)
                    .map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"))
            };
            let _ = writeln!(
                text,
                "{:<38} {:<13} {:>9} {:>9} {:>9} {:>9} {:>5} {:>9} {:>5}",
                row.name,
                row.backend,
                cell(50),
                cell(90),
                cell(99),
                cell(100),
                sorted.len(),
                row.switches,
                row.count("peer_down"),
            );
            if row.unrecovered > 0 {
                let _ = writeln!(
                    text,
                    "  {} of these had not recovered at the limit",
                    row.unrecovered
                );
            }
        }
        text
    }
}

/// The smallest sample that is not below `percent` of all of them; `sorted` is in ascending order.
#[must_use]
pub fn nearest_rank(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_ranks() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        let table = [(50, 50.0), (90, 90.0), (99, 99.0), (100, 100.0)];
        for (percent, expected) in table {
            assert_eq!(nearest_rank(&hundred, percent), Some(expected));
        }
        assert_eq!(nearest_rank(&[1.0, 2.0, 3.0], 50), Some(2.0));
        assert_eq!(nearest_rank(&[7.0], 99), Some(7.0));
        assert_eq!(nearest_rank(&[], 50), None);
    }

    #[test]
    fn rows() {
        let mut row = Row::new("blackhole-both", "userspace");
        row.add("a->b", 12.34);
        row.add("b->a", 30.0);
        row.switches = 2;
        let report = Report {
            scenarios: vec![row],
        };
        let table = report.table();
        let cells: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().collect();
        let expected = "blackhole-both userspace 12.3 ms 30.0 ms 30.0 ms 30.0 ms 2 2 0";
        assert_eq!(cells.join(" "), expected);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["scenarios"][0]["samples_ms"][0], 12.3);
    }
}
