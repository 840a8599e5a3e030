//! Ctrl-C, SIGTERM and SIGHUP: end at once and leave nothing. Every process of the lab dies with this
//! one, the namespaces with them; only the directory needs a hand.

use nix::sys::signal::{SigSet, Signal};

use mesh_tests::lab::registry;

/// Call before any other thread exists: later threads inherit the blocked signals.
pub(crate) fn end_on_signal() -> anyhow::Result<()> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block()?;
    std::thread::spawn(move || {
        let Ok(signal) = signals.wait() else { return };
        registry::remove_own();
        std::process::exit(128 + signal as i32);
    });
    Ok(())
}
