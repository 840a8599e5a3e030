//! The outcome of `meshctl test` as JUnit XML, which build servers read.

use std::fmt::Write as _;

use super::{Outcome, Tests};
use crate::command::topology::escape;

pub(super) fn render(tests: &Tests) -> String {
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n<testsuite name=\"mesh as {} sees it\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" errors=\"0\">\n",
        escape(&tests.node),
        tests.checks.len(),
        tests.failed,
        tests.skipped
    );
    for check in &tests.checks {
        let name = escape(&check.name);
        let (cause, remedy) = (text(check.cause.as_ref()), text(check.remedy.as_ref()));
        // Writing to a String cannot fail.
        let _ = match check.outcome {
            Outcome::Ok => {
                let seconds = check.rtt_ms.unwrap_or(0.0) / 1000.0;
                writeln!(
                    out,
                    "<testcase classname=\"mesh\" name=\"{name}\" time=\"{seconds:.6}\"/>"
                )
            }
            Outcome::Failed => writeln!(
                out,
                "<testcase classname=\"mesh\" name=\"{name}\"><failure message=\"{cause}\">{remedy}</failure></testcase>"
            ),
            Outcome::Skipped => writeln!(
                out,
                "<testcase classname=\"mesh\" name=\"{name}\"><skipped message=\"{cause}\"/></testcase>"
            ),
        };
    }
    out + "</testsuite>\n</testsuites>\n"
}

fn text(words: Option<&String>) -> String {
    words.map(|words| escape(words)).unwrap_or_default()
}
