//! The TUN side of the worker: reads, writes, and opens the interface again if somebody deletes it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::EngineError;
use crate::engine::counters::{EngineCounters, count};
use crate::linux::tun::{self, Tun, TunError};

/// Time between attempts to open the interface again.
const ATTEMPT_PACE: Duration = Duration::from_millis(100);

/// The tunnel interface, present or not.
#[derive(Debug)]
pub(super) struct Tunnel {
    device: Option<Tun>,
    name: String,
    mtu: u32,
    next_attempt: Option<Instant>,
    counters: Arc<EngineCounters>,
}

impl Tunnel {
    /// Makes the interface.
    pub(super) fn open(
        name: &str,
        mtu: u32,
        counters: Arc<EngineCounters>,
    ) -> Result<Self, EngineError> {
        Ok(Self {
            device: Some(Tun::open(name, mtu)?),
            name: name.to_owned(),
            mtu,
            next_attempt: None,
            counters,
        })
    }

    /// A side without an interface, which takes no packets.
    #[cfg(test)]
    pub(super) fn absent(mtu: u32, counters: Arc<EngineCounters>) -> Self {
        Self {
            device: None,
            name: String::new(),
            mtu,
            next_attempt: None,
            counters,
        }
    }

    /// The interface, unless somebody deleted it.
    pub(super) const fn device(&self) -> Option<&Tun> {
        self.device.as_ref()
    }

    /// Largest inner packet.
    pub(super) fn mtu(&self) -> u16 {
        u16::try_from(self.mtu).unwrap_or(u16::MAX)
    }

    /// Notes that the interface has another MTU now.
    pub(super) const fn set_mtu(&mut self, mtu: u32) {
        self.mtu = mtu;
    }

    /// Reads one packet; none if there is none now.
    pub(super) fn read(&mut self, now: Instant, buffer: &mut [u8]) -> Option<usize> {
        match self.device.as_ref()?.read(buffer) {
            Ok(0) => None,
            Ok(length) => {
                count(&self.counters.tun_read);
                Some(length)
            }
            Err(error) => {
                self.check(now, &error);
                None
            }
        }
    }

    /// Writes one packet. What the interface does not take is dropped.
    pub(super) fn write(&mut self, now: Instant, packet: &[u8]) {
        let result = match &self.device {
            Some(device) => device.write(packet),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        match result {
            Ok(_) => count(&self.counters.tun_written),
            Err(error) => {
                count(&self.counters.drop_tun_write);
                self.check(now, &error);
            }
        }
    }

    /// When to try to open the interface again.
    pub(super) const fn next_attempt(&self) -> Option<Instant> {
        self.next_attempt
    }

    /// Opens the interface again if that is due. True if it is back.
    pub(super) fn reopen(&mut self, now: Instant) -> bool {
        if self.next_attempt.is_none_or(|at| at > now) {
            return false;
        }
        match Tun::open(&self.name, self.mtu) {
            Ok(device) => {
                self.device = Some(device);
                self.next_attempt = None;
                true
            }
            Err(error) => {
                tracing::debug!(%error, "the tunnel interface is still missing");
                self.next_attempt = Some(now + ATTEMPT_PACE);
                false
            }
        }
    }

    fn check(&mut self, now: Instant, error: &io::Error) {
        // A deleted interface answers a reader that was waiting with EFAULT.
        let gone = tun::is_gone(error) || error.raw_os_error() == Some(libc::EFAULT);
        if gone && self.device.take().is_some() {
            tracing::warn!("somebody deleted the tunnel interface {}", self.name);
            self.next_attempt = Some(now);
        }
    }
}

impl From<TunError> for EngineError {
    fn from(error: TunError) -> Self {
        Self::Tun(error)
    }
}
