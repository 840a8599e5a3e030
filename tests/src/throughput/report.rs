//! The numbers of a run, and the ratios that may be quoted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;

/// Compared with all others.
const SUBJECT: &str = "meshd";

/// One measurement.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// From 1.
    pub round: u32,
    /// Whose.
    #[serde(rename = "impl")]
    pub implementation: String,
    /// Which: `tcp1`, `tcp4`, `udp64`, `ping`, `rss`, with `-back` for the other direction, `-p99` for
    /// the percentile, `-load` beside a TCP stream.
    pub test: String,
    /// The number.
    pub value: f64,
    /// Its unit.
    pub unit: String,
    /// Processor seconds of the whole machine for each Gbit that arrived.
    pub cpu_s_per_gbit: Option<f64>,
    /// Those of the implementation's own processes on both ends.
    pub daemon_cpu_s_per_gbit: Option<f64>,
}

/// A run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// TCP's congestion control: what a stream reaches depends on it.
    pub congestion: String,
    /// All measurements.
    pub rounds: Vec<Row>,
}

impl Report {
    /// Medians, and for every other implementation the ratio of meshd's number to its own in the same
    /// round: median, least and most, and the median for processor time. For round trips, memory and
    /// processor time a ratio under 1 is better.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = format!(
            "congestion control {}\n{:14} {:14} {:>12} {:>10} {:>10} {:>8} {:>8} {:>8} {:>8}  {}\n",
            self.congestion,
            "test",
            "implementation",
            "median",
            "cpu/Gbit",
            "own cpu",
            "ratio",
            "least",
            "most",
            "of cpu",
            "unit"
        );
        let keys: BTreeSet<_> = self
            .rounds
            .iter()
            .map(|row| (row.test.as_str(), row.implementation.as_str()))
            .collect();
        for (test, name) in keys {
            let rows: Vec<_> = self.rows(test, name).collect();
            let unit = rows.first().map_or("", |row| row.unit.as_str());
            let ratios = self.ratios(test, name, |row| Some(row.value));
            let least = ratios.iter().copied().min_by(f64::total_cmp);
            let most = ratios.iter().copied().max_by(f64::total_cmp);
            let of_cpu = self.ratios(test, name, |row| row.cpu_s_per_gbit);
            let _ = writeln!(
                text,
                "{test:14} {name:14} {:>12} {:>10} {:>10} {:>8} {:>8} {:>8} {:>8}  {unit}",
                shown(median(rows.iter().map(|row| row.value))),
                shown(median(rows.iter().filter_map(|row| row.cpu_s_per_gbit))),
                shown(median(
                    rows.iter().filter_map(|row| row.daemon_cpu_s_per_gbit)
                )),
                shown(median(ratios.into_iter())),
                shown(least),
                shown(most),
                shown(median(of_cpu.into_iter())),
            );
        }
        text
    }

    fn rows(&self, test: &str, name: &str) -> impl Iterator<Item = &Row> {
        let fits = move |row: &&Row| row.test == test && row.implementation == name;
        self.rounds.iter().filter(fits)
    }

    /// meshd's numbers over another's, round by round.
    fn ratios(&self, test: &str, name: &str, number: impl Fn(&Row) -> Option<f64>) -> Vec<f64> {
        if name == SUBJECT {
            return Vec::new();
        }
        let ours: BTreeMap<u32, f64> = self
            .rows(test, SUBJECT)
            .filter_map(|row| Some((row.round, number(row)?)))
            .collect();
        let theirs = self.rows(test, name).filter_map(|row| {
            let theirs = number(row).filter(|value| *value > 0.0)?;
            Some(ours.get(&row.round)? / theirs)
        });
        theirs.collect()
    }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

fn shown(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value >= 1000.0 => format!("{value:.0}"),
        Some(value) => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(round: u32, name: &str, value: f64) -> Row {
        Row {
            round,
            implementation: name.to_owned(),
            test: "tcp1".to_owned(),
            value,
            unit: "Gbit/s".to_owned(),
            cpu_s_per_gbit: Some(0.5),
            daemon_cpu_s_per_gbit: None,
        }
    }

    #[test]
    fn ratios_are_taken_inside_a_round() {
        let report = Report {
            rounds: vec![
                row(1, "meshd", 4.0),
                row(1, "other", 2.0),
                row(2, "meshd", 9.0),
                row(2, "other", 3.0),
                row(3, "other", 5.0),
            ],
            ..Report::default()
        };
        assert_eq!(
            report.ratios("tcp1", "other", |row| Some(row.value)),
            [2.0, 3.0]
        );
        assert!(
            report
                .ratios("tcp1", "meshd", |row| Some(row.value))
                .is_empty()
        );
        let table = report.table();
        assert!(
            table.contains("2.50     2.00     3.00     1.00  Gbit/s"),
            "{table}"
        );
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["rounds"][0]["impl"], "meshd");
    }

    #[test]
    fn medians() {
        assert_eq!(median([].into_iter()), None);
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0].into_iter()), Some(2.5));
    }
}
