//! Outcomes of the checks, for people and as JSON.

use serde::Serialize;

use super::Outcome;

/// All checks, in the order they ended.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// One per check.
    pub checks: Vec<Check>,
}

/// One check.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// Its name, stable.
    pub name: String,
    /// True if it holds.
    pub ok: bool,
    /// What was seen, with numbers; or why it does not hold.
    pub evidence: String,
}

impl Report {
    /// True if every check holds and there was one.
    #[must_use]
    pub fn passed(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|check| check.ok)
    }

    /// A table with one line per check, and a last line that sums up.
    #[must_use]
    pub fn table(&self) -> String {
        let width = self
            .checks
            .iter()
            .map(|check| check.name.len())
            .max()
            .unwrap_or(0);
        let mut lines: Vec<_> = self
            .checks
            .iter()
            .map(|check| {
                let word = if check.ok { "ok  " } else { "FAIL" };
                format!("{word}  {:width$}  {}", check.name, check.evidence)
            })
            .collect();
        let failed = self.checks.iter().filter(|check| !check.ok).count();
        lines.push(match failed {
            0 => format!("{} checks, all hold", self.checks.len()),
            _ => format!("{} checks, {failed} FAILED", self.checks.len()),
        });
        lines.join("\n")
    }
}

impl Check {
    pub(super) fn of(name: &str, outcome: Outcome) -> Self {
        let (ok, evidence) = match outcome {
            Ok(evidence) => (true, evidence),
            Err(error) => (false, error.to_string()),
        };
        Self {
            name: name.to_owned(),
            ok,
            evidence,
        }
    }

    pub(super) fn not_run(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ok: false,
            evidence: "not run: the mesh did not form".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::CheckError;
    use super::*;

    #[test]
    fn one_failure_fails_the_report() {
        let mut report = Report::default();
        assert!(!report.passed());
        report.checks.push(Check::of("one", Ok("seen".to_owned())));
        assert!(report.passed());
        assert_eq!(report.table(), "ok    one  seen\n1 checks, all hold");
        report.checks.push(Check::of(
            "other",
            Err(CheckError::Broken("not seen".to_owned())),
        ));
        assert!(!report.passed());
        let table = "ok    one    seen\nFAIL  other  not seen\n2 checks, 1 FAILED";
        assert_eq!(report.table(), table);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["checks"][1]["ok"], false);
    }
}
