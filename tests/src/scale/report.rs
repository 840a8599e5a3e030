//! The result: every join as JSON, percentiles as a table. Pure.

use std::fmt::Write as _;

use serde::Serialize;

use super::server::figures::Figures;
use crate::recovery::report::nearest_rank;

/// All runs.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Report {
    /// In the order they ran.
    pub runs: Vec<Run>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    /// `mesh`: real daemons; `server`: the discovery server alone; `peers`: one daemon and stock peers.
    pub kind: &'static str,
    /// Members, the joining one included.
    pub members: usize,
    /// For each join the time until the last tunnel carried data both ways, or until the last watcher
    /// had the record, or from the start until all peers were up, milliseconds.
    pub join_ms: Vec<f64>,
    /// Mean resident memory of a daemon, or what the server grew by for each member.
    pub rss_bytes_per_member: u64,
    /// Mean share of one core that an idle daemon, or the server, uses.
    pub idle_cpu: f64,
    /// More about a server.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub server: Option<Figures>,
}

impl Report {
    /// A row a run.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:<6} {:>8} {:>6} {:>10} {:>10} {:>10} {:>12} {:>9}\n",
            "KIND", "MEMBERS", "JOINS", "P50", "P99", "MAX", "RSS/MEMBER", "IDLE-CPU"
        );
        for run in &self.runs {
            let mut sorted = run.join_ms.clone();
            sorted.sort_by(f64::total_cmp);
            let cell = |percent| {
                nearest_rank(&sorted, percent)
                    .map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0} ms"))
            };
            let _ = writeln!(
                text,
                "{:<6} {:>8} {:>6} {:>10} {:>10} {:>10} {:>8} KiB {:>7.2} %",
                run.kind,
                run.members,
                sorted.len(),
                cell(50),
                cell(99),
                cell(100),
                run.rss_bytes_per_member / 1024,
                run.idle_cpu * 100.0
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows() {
        let report = Report {
            runs: vec![Run {
                kind: "mesh",
                members: 100,
                join_ms: vec![400.0, 300.0],
                rss_bytes_per_member: 20 * 1024 * 1024,
                idle_cpu: 0.0123,
                server: None,
            }],
        };
        let table = report.table();
        let cells: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().collect();
        let expected = "mesh 100 2 300 ms 400 ms 400 ms 20480 KiB 1.23 %";
        assert_eq!(cells.join(" "), expected);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["runs"][0]["join_ms"][1], 300.0);
    }
}
