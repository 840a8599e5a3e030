//! Logs on stderr. Without a terminal there is neither colour nor time: the journal adds its own.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Starts logging.
///
/// # Errors
/// What is wrong with `filter`, in words.
pub fn start(filter: &str) -> Result<(), String> {
    // boringtun logs an error whenever an idle session ends, and the verifier one at each attempt to reach
    // a server that is not trusted, which is a problem in `status` already.
    let quiet = "boringtun=off,rustls_platform_verifier=off";
    let parsed = EnvFilter::try_new(format!("{quiet},{filter}"))
        .map_err(|error| format!("--log {filter:?} is not a log filter: {error}"))?;
    let terminal = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(terminal);
    let started = if std::env::var_os("JOURNAL_STREAM").is_some() {
        builder.without_time().try_init()
    } else {
        builder.try_init()
    };
    started.map_err(|error| format!("logging is set up twice: {error}"))
}
