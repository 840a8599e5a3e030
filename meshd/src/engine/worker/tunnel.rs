//! The TUN side of the worker: reads, writes what it could join, and opens the interface again if
//! somebody deletes it.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::EngineError;
use crate::engine::coalesce::{Coalescer, PieceSink};
use crate::engine::counters::{EngineCounters, add, count};
use crate::linux::tun::{self, Tun, TunError, TunOffloads, VNET_HEADER_BYTES, VnetHeader};

/// Time between attempts to open the interface again.
const ATTEMPT_PACE: Duration = Duration::from_millis(100);
/// Bytes of decrypted packets that wait to be joined: a few large ones, so that all stays in the cache.
const ARENA_BYTES: usize = 256 * 1024;

/// The tunnel interface, present or not.
#[derive(Debug)]
pub(super) struct Tunnel {
    device: Option<Tun>,
    name: String,
    mtu: u32,
    wanted: TunOffloads,
    next_attempt: Option<Instant>,
    coalescer: Coalescer,
    /// Decrypted packets, one behind the other.
    arena: Vec<u8>,
    used: usize,
    counters: Arc<EngineCounters>,
}

impl Tunnel {
    /// Makes the interface, with those of the `wanted` offloads that the kernel has.
    pub(super) fn open(
        name: &str,
        mtu: u32,
        wanted: TunOffloads,
        counters: Arc<EngineCounters>,
    ) -> Result<Self, EngineError> {
        let device = Tun::open_with(name, mtu, wanted)?;
        Ok(Self {
            coalescer: Coalescer::new(device.offloads()),
            device: Some(device),
            name: name.to_owned(),
            wanted,
            ..Self::absent(mtu, TunOffloads::default(), counters)
        })
    }

    /// A side without an interface, which takes no packets. It joins what one with `offloads` would take.
    pub(super) fn absent(mtu: u32, offloads: TunOffloads, counters: Arc<EngineCounters>) -> Self {
        Self {
            device: None,
            name: String::new(),
            mtu,
            wanted: TunOffloads::default(),
            next_attempt: None,
            coalescer: Coalescer::new(offloads),
            arena: vec![0; ARENA_BYTES],
            used: 0,
            counters,
        }
    }

    /// The interface, unless somebody deleted it.
    pub(super) const fn device(&self) -> Option<&Tun> {
        self.device.as_ref()
    }

    /// The offloads in use.
    pub(super) fn offloads(&self) -> TunOffloads {
        self.device.as_ref().map(Tun::offloads).unwrap_or_default()
    }

    /// Largest inner packet.
    pub(super) fn mtu(&self) -> u16 {
        u16::try_from(self.mtu).unwrap_or(u16::MAX)
    }

    /// Notes that the interface has another MTU now.
    pub(super) const fn set_mtu(&mut self, mtu: u32) {
        self.mtu = mtu;
    }

    /// Reads one packet into `buffer`: what is left to do to it, and its bytes. None if there is none now.
    pub(super) fn read<'a>(
        &mut self,
        now: Instant,
        buffer: &'a mut [u8],
    ) -> Option<(VnetHeader, &'a mut [u8])> {
        let device = self.device.as_ref()?;
        let length = match device.read(buffer) {
            Ok(0) => return None,
            Ok(length) => length,
            Err(error) => {
                self.check(now, &error);
                return None;
            }
        };
        count(&self.counters.tun_read);
        let bytes = &mut buffer[..length];
        if !device.has_header() {
            return Some((VnetHeader::default(), bytes));
        }
        let (header, packet) = bytes.split_first_chunk_mut::<VNET_HEADER_BYTES>()?;
        Some((VnetHeader::decode(header), packet))
    }

    /// Where to decrypt a packet of up to `bytes` to. Valid until the next call of anything else.
    pub(super) fn room(&mut self, now: Instant, bytes: usize) -> &mut [u8] {
        if self.used + bytes > ARENA_BYTES {
            self.flush(now);
        }
        &mut self.arena[self.used..]
    }

    /// The first `length` bytes of the room.
    pub(super) fn decrypted(&mut self, length: usize) -> &mut [u8] {
        &mut self.arena[self.used..self.used + length]
    }

    /// Takes the first `length` bytes of the room, a whole IP packet, for the interface. It is written
    /// before [`Tunnel::flush`] returns.
    pub(super) fn deliver(&mut self, now: Instant, length: usize) {
        let start = self.used;
        self.used += length;
        self.write(now, |coalescer, arena, writer| {
            coalescer.push(arena, start, length, writer);
        });
    }

    /// Writes everything that was delivered. What the interface does not take is dropped.
    pub(super) fn flush(&mut self, now: Instant) {
        self.write(now, |coalescer, arena, writer| {
            coalescer.flush(arena, writer)
        });
        self.used = 0;
    }

    fn write(
        &mut self,
        now: Instant,
        work: impl FnOnce(&mut Coalescer, &mut [u8], &mut TunWriter<'_>),
    ) {
        let mut writer = TunWriter {
            device: self.device.as_ref(),
            counters: &self.counters,
            failure: None,
        };
        work(&mut self.coalescer, &mut self.arena, &mut writer);
        if let Some(error) = writer.failure {
            self.check(now, &error);
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
        match Tun::open_with(&self.name, self.mtu, self.wanted) {
            Ok(device) => {
                self.flush(now);
                self.coalescer = Coalescer::new(device.offloads());
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

/// Writes pieces to the device and counts.
struct TunWriter<'a> {
    device: Option<&'a Tun>,
    counters: &'a EngineCounters,
    /// The last thing that went wrong.
    failure: Option<io::Error>,
}

impl PieceSink for TunWriter<'_> {
    fn write(&mut self, parts: &[IoSlice<'_>], packets: usize) {
        let result = match self.device {
            Some(device) if device.has_header() => device.write_parts(parts),
            // Without a header nothing is joined.
            Some(device) => device.write(&parts[1]),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        match result {
            Ok(_) => add(&self.counters.tun_written, packets),
            Err(error) => {
                add(&self.counters.drop_tun_write, packets);
                self.failure = Some(error);
            }
        }
    }
}

impl From<TunError> for EngineError {
    fn from(error: TunError) -> Self {
        Self::Tun(error)
    }
}
