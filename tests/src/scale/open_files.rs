//! Open files: many sockets in one process need a higher limit than shells give.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::lab::LabError;

/// Lets this process and its children have `needed` open files.
///
/// # Errors
/// If that is more than may be had here.
pub(super) fn allow(needed: u64) -> Result<(), LabError> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(LabError::io("getrlimit"))?;
    if soft >= needed {
        return Ok(());
    }
    // Root may also raise the hard limit, unless a container forbids it.
    let raised = setrlimit(Resource::RLIMIT_NOFILE, needed, hard.max(needed));
    raised.map_err(|_| {
        LabError::Unusable(format!(
            "{needed} open files are needed and {hard} allowed; raise `ulimit -n`"
        ))
    })
}
