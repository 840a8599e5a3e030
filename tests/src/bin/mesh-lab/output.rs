//! Everything mesh-lab prints: results on stdout, progress on stderr.

use std::io::Write as _;

/// A line of the result.
#[expect(
    clippy::print_stdout,
    reason = "the output module of a command line tool"
)]
pub(crate) fn line(text: &str) {
    println!("{text}");
}

/// A line for whoever watches.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
