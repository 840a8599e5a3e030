//! Shares that flows get beside a flood, for people and as JSON.

use std::fmt::Write as _;

use serde::Serialize;

/// One flow beside a flood.
#[derive(Debug, Clone, Serialize)]
pub struct Case {
    /// Repetition, counted from 1.
    pub round: u32,
    /// Which end both flows have in common: `sender` or `receiver`.
    pub place: String,
    /// `udp` or `tcp`.
    pub flow: String,
    /// What a flow of the same kind gets alone, Mbit/s: for UDP, the flood.
    pub alone_mbit: f64,
    /// What it got beside the flood, Mbit/s.
    pub got_mbit: f64,
}

impl Case {
    /// Part of half of what it gets alone.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.got_mbit / (self.alone_mbit / 2.0)
    }
}

/// All of them.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// In the order measured.
    pub cases: Vec<Case>,
}

impl Report {
    /// The report as text.
    #[must_use]
    pub fn table(&self) -> String {
        let mut out = format!(
            "{:<7}{:<10}{:<6}{:>10}{:>10}{:>16}\n",
            "round", "common", "flow", "alone", "got", "of fair share"
        );
        for case in &self.cases {
            // Writing to a String cannot fail.
            let _ = writeln!(
                out,
                "{:<7}{:<10}{:<6}{:>10.0}{:>10.0}{:>14.0} %",
                case.round,
                case.place,
                case.flow,
                case.alone_mbit,
                case.got_mbit,
                100.0 * case.share()
            );
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_is_fair() {
        let case = Case {
            round: 1,
            place: "sender".to_owned(),
            flow: "tcp".to_owned(),
            alone_mbit: 4000.0,
            got_mbit: 1000.0,
        };
        assert_eq!(case.share(), 0.5);
        let report = Report { cases: vec![case] };
        assert!(report.table().contains("50 %"));
    }
}
