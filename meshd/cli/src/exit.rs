//! Exit codes: part of the interface, documented in `docs/cli.md`.

use std::process::ExitCode;

/// How a run of meshctl ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, and nothing is wrong.
    Ok = 0,
    /// The command failed.
    Failed = 1,
    /// The command line is wrong (clap uses the same code).
    Usage = 2,
    /// `status` and `test` only: the mesh works, but not as it should.
    Degraded = 3,
    /// The daemon cannot be asked.
    Unreachable = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
