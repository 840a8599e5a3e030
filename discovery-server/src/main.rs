//! The discovery-server binary: flags, logging, signals, systemd and exit codes.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use discovery_server::backup;
use discovery_server::server::{Server, StartError, TICK};
use discovery_server::settings::{Command, Flags, Settings};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Config, data directory or certificate cannot be used.
const EXIT_UNUSABLE: u8 = 2;
/// Everything else, for example a port in use.
const EXIT_FAILED: u8 = 1;
/// How long the writer may take for one tick before the watchdog is no longer fed.
const TICK_LIMIT: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, error)) => {
            // Nothing is left to tell if stderr is gone too.
            let _ = writeln!(stderr(), "discovery-server: {error}");
            ExitCode::from(code)
        }
    }
}

fn start() -> Result<(), (u8, anyhow::Error)> {
    let unusable = |error: anyhow::Error| (EXIT_UNUSABLE, error);
    let flags = Flags::parse();
    if let Some(command) = &flags.command {
        return run(command).map_err(|error| (EXIT_FAILED, error));
    }
    let settings = Settings::resolve(flags).map_err(|error| unusable(error.into()))?;
    let filter = EnvFilter::try_new(&settings.log).map_err(|error| {
        unusable(anyhow::anyhow!(
            "the log filter {:?}: {error}",
            settings.log
        ))
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| (EXIT_FAILED, error.into()))?;
    runtime.block_on(serve(settings))
}

/// Backs up or restores.
fn run(command: &Command) -> anyhow::Result<()> {
    let (rows, path, what) = match command {
        Command::Backup { data_dir, to } => (backup::take(data_dir, to)?, to, "backed up to"),
        Command::Restore { data_dir, from } => {
            let mut epoch = [0; 8];
            getrandom::fill(&mut epoch).map_err(|error| anyhow::anyhow!("{error}"))?;
            let epoch = u64::from_be_bytes(epoch) >> 16;
            let rows = backup::put_back(data_dir, from, epoch)?;
            (rows, from, "restored from")
        }
    };
    writeln!(stderr(), "{rows} rows {what} {}", path.display())?;
    Ok(())
}

async fn serve(settings: Settings) -> Result<(), (u8, anyhow::Error)> {
    let failed = |error: std::io::Error| (EXIT_FAILED, error.into());
    // Before the server is ready, so that no early signal kills it.
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
    let with_tls = settings.tls.is_some();
    let server = Server::start(settings).map_err(|error| {
        let code = match &error {
            StartError::Store(_) | StartError::Tls(_) => EXIT_UNUSABLE,
            _ => EXIT_FAILED,
        };
        (code, error.into())
    })?;
    let (listen, stun) = (server.address(), server.stun_address());
    let stun = stun.map_or_else(|| "off".to_owned(), |at| at.to_string());
    tracing::info!(%listen, %stun, tls = with_tls, "serving");
    notify(&[NotifyState::Ready]);
    let mut ticks = tokio::time::interval(TICK);
    let outcome = loop {
        tokio::select! {
            _ = terminate.recv() => break Ok(()),
            _ = interrupt.recv() => break Ok(()),
            _ = hangup.recv(), if with_tls => reload(&server),
            _ = ticks.tick() => {}
        }
        // The watchdog is fed only by a round trip through the writer, which proves more than a timer.
        match tokio::time::timeout(TICK_LIMIT, server.tick()).await {
            Ok(true) => notify(&[NotifyState::Watchdog]),
            Ok(false) => break Err(anyhow::anyhow!("the writer stopped; see the log above")),
            Err(_) => tracing::warn!("the store takes long to write"),
        }
    };
    tracing::info!("stopping");
    notify(&[NotifyState::Stopping]);
    server.stop().await;
    outcome.map_err(|error| (EXIT_FAILED, error))
}

fn reload(server: &Server) {
    match server.reload() {
        Ok(()) => tracing::info!("read the certificate again"),
        Err(error) => tracing::error!(%error, "the old certificate stays in use"),
    }
}

fn notify(states: &[NotifyState<'_>]) {
    // Without systemd there is nobody to tell.
    let _ = sd_notify::notify(states);
}
