//! Signals: SIGTERM and SIGINT stop and remove, SIGUSR2 stops and keeps what fails closed. SIGHUP is
//! handled by the reload task.

use std::io;

use futures_util::FutureExt as _;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// Stop, and remove everything local.
    Terminate,
    /// Stop for a restart or upgrade.
    Restart,
}

/// The signals of this process.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Stream,
    interrupt: Stream,
    restart: Stream,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            restart: signal(SignalKind::user_defined2())?,
        })
    }

    pub(super) async fn recv(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.interrupt.recv() => Signal::Terminate,
            _ = self.restart.recv() => Signal::Restart,
        }
    }

    /// True if a signal to stop has come since the last look.
    pub(super) fn terminated(&mut self) -> bool {
        [&mut self.terminate, &mut self.interrupt]
            .into_iter()
            .any(|signal| signal.recv().now_or_never().is_some())
    }
}
