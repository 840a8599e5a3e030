//! The userspace WireGuard engine: TUN on one side, UDP on the other, sessions in between; and, in
//! `kernel`, the one that has the kernel do all that.
//!
//! One thread runs every packet to completion and owns all sessions, so that the data path has no
//! lock and no hand-over. The engine decides nothing about paths: it carries out
//! [`EngineCommand`]s and tells what happened in [`EngineEvent`]s. It sets no addresses and no
//! routes; that is the business of `linux`.

mod allowed_ips;
mod arrivals;
mod checksum;
mod coalesce;
mod copies;
mod counters;
mod endpoint_gate;
mod events;
#[doc(hidden)]
pub mod fuzzing;
mod initiation_gate;
mod kernel;
mod kernel_drops;
mod newest;
mod offloads;
mod packet;
mod path;
mod peer;
mod peer_table;
mod postponed;
mod queue;
mod rate;
mod response_cache;
mod segment_size;
mod segments;
mod send_queue;
mod sessions;
mod silence;
mod snapshot;
mod sockets;
mod too_big;
mod uapi;
mod wall_clock;
mod worker;

#[cfg(test)]
mod test_packets;
#[cfg(test)]
mod tests;

use std::io;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use mesh_proto::WgPrivateKey;
use meshd_core::data_plane::{EngineCommand, EngineEvent};
use tokio::sync::mpsc::Sender;

pub use counters::{CounterSnapshot, EngineCounters};
pub use offloads::Offloads;
#[doc(hidden)]
pub use uapi::is_uapi_request;

use crate::linux::tun::TunError;
pub use kernel::{kernel_available, kernel_device, remove_kernel_device};

use kernel::KernelWorker;
use offloads::OffloadsInUse;
use queue::{Message, MessageSender};
use uapi::UapiServer;
use worker::Worker;

/// Datagrams that are not WireGuard, handed to the core in one second.
const FOREIGN_PER_SECOND: u32 = 4000;
/// Largest foreign datagram worth handing over: no STUN or mesh message is larger.
const MAX_FOREIGN_BYTES: usize = 2048;

/// Where wg(8) finds the engine of `interface`.
#[must_use]
pub fn wg_socket(interface: &str) -> PathBuf {
    uapi::socket_in(Path::new(uapi::DIRECTORY), interface)
}

/// What an engine needs to start.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Name of the tunnel interface, at most 15 bytes.
    pub interface: String,
    /// MTU of the tunnel interface, bytes.
    pub mtu: u32,
    /// UDP port, the same for IPv4 and IPv6; 0 lets the kernel choose.
    pub listen_port: u16,
    /// Mark of outer packets; 0 for none.
    pub mark: u32,
    /// The node's WireGuard key.
    pub private_key: WgPrivateKey,
    /// The node's mesh address: probes are addressed to it.
    pub mesh_address: Ipv6Addr,
    /// About how many peers there will be; bounds on handshakes scale with it.
    pub peers_hint: usize,
    /// Offloads to use where the kernel has them.
    pub offloads: Offloads,
}

/// Why an engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Somebody else has the UDP port.
    #[error("udp port {0} is in use by another program: stop it or set wireguard.listenPort")]
    PortInUse(u16),
    /// The tunnel interface could not be made.
    #[error("cannot make the tunnel interface: {0}")]
    Tun(#[source] TunError),
    /// The kernel refused something only a privileged process may do.
    #[error("not permitted to {what}: run as root or with CAP_NET_ADMIN")]
    Privilege {
        /// What was tried.
        what: &'static str,
    },
    /// Something else failed.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl EngineError {
    /// The exit code of the daemon if it cannot start for this reason.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::PortInUse(_) | Self::Io { .. } => 1,
            Self::Tun(_) | Self::Privilege { .. } => 2,
        }
    }
}

/// A running engine. Dropping it stops it.
#[derive(Debug)]
pub struct Engine {
    messages: MessageSender,
    counters: Arc<EngineCounters>,
    listen_port: u16,
    offloads: Arc<OffloadsInUse>,
    wanted: Offloads,
    worker: Option<JoinHandle<()>>,
    uapi: Option<UapiServer>,
}

impl Engine {
    /// Opens the sockets and the tunnel interface and starts the worker thread. Events go to
    /// `events`; whoever holds the receiver must keep reading, since most events are dropped (and
    /// counted) when it is full.
    ///
    /// # Errors
    /// [`EngineError`] says what to do. Nothing is left behind.
    pub fn start(config: EngineConfig, events: Sender<EngineEvent>) -> Result<Self, EngineError> {
        let counters = Arc::new(EngineCounters::default());
        let (messages, inbox) =
            queue::channel(Arc::clone(&counters)).map_err(io_error("make an event descriptor"))?;
        let interface = config.interface.clone();
        let wanted = config.offloads;
        let worker = Worker::open(config, inbox, events, Arc::clone(&counters))?;
        let listen_port = worker.listen_port();
        let offloads = worker.offloads_in_use();
        let missing = wanted.without(offloads.get());
        tracing::info!(in_use = %offloads.get(), %missing, "offloads of userspace WireGuard");
        let worker = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || worker.run())
            .map_err(io_error("start the engine's thread"))?;
        let uapi = UapiServer::start(&interface, messages.clone())
            .inspect_err(|error| tracing::warn!(%error, "no wg(8) socket for {interface}"))
            .ok();
        Ok(Self {
            messages,
            counters,
            listen_port,
            offloads,
            wanted,
            worker: Some(worker),
            uapi,
        })
    }

    /// The same with WireGuard in the kernel.
    ///
    /// Goes on with the device that [`kernel_device`] found, sessions included, if `adopt`.
    ///
    /// # Errors
    /// [`EngineError`] says what to do. Nothing is left behind.
    pub fn start_kernel(
        config: EngineConfig,
        adopt: bool,
        events: Sender<EngineEvent>,
    ) -> Result<Self, EngineError> {
        let counters = Arc::new(EngineCounters::default());
        let (messages, inbox) =
            queue::channel(Arc::clone(&counters)).map_err(io_error("make an event descriptor"))?;
        let listen_port = config.listen_port;
        let worker = KernelWorker::open(config, adopt, inbox, events, Arc::clone(&counters))?;
        tracing::info!(adopted = adopt, "WireGuard is the kernel's");
        let worker = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || worker.run())
            .map_err(io_error("start the engine's thread"))?;
        Ok(Self {
            messages,
            counters,
            listen_port,
            offloads: Arc::default(),
            wanted: Offloads::NONE,
            worker: Some(worker),
            uapi: None,
        })
    }

    /// Hands over a command. Never blocks. If the engine is far behind, commands that only send
    /// packets are dropped and counted; commands that change state never are.
    pub fn send(&self, command: EngineCommand) {
        self.messages.send(Message::Command(command));
    }

    /// Tells that the interface has another MTU now: segment sizes are clamped to it, and an
    /// interface that is made again gets it. Does not set it.
    pub fn set_mtu(&self, mtu: u32) {
        self.messages.send(Message::Mtu(mtu));
    }

    /// Counters, updated while the engine runs.
    #[must_use]
    pub fn counters(&self) -> Arc<EngineCounters> {
        Arc::clone(&self.counters)
    }

    /// Differs from what it was a second ago if the worker is alive.
    #[must_use]
    pub fn beat(&self) -> u64 {
        self.counters.beat.load(Ordering::Relaxed)
    }

    /// The UDP port in use.
    #[must_use]
    pub const fn listen_port(&self) -> u16 {
        self.listen_port
    }

    /// The offloads in use now: fewer than wanted where the kernel or a network card has none.
    #[must_use]
    pub fn offloads(&self) -> Offloads {
        self.offloads.get()
    }

    /// The offloads that were wanted and are not in use.
    #[must_use]
    pub fn missing_offloads(&self) -> Offloads {
        self.wanted.without(self.offloads.get())
    }

    /// Stops: the interface and the sockets are gone when this returns.
    pub fn stop(mut self) {
        self.shut_down(Message::Stop);
    }

    /// Stops for a restart: a device of the kernel goes on with its sessions, for the next process to
    /// adopt. In userspace the same as [`Self::stop`].
    pub fn leave(mut self) {
        self.shut_down(Message::Leave);
    }

    fn shut_down(&mut self, last: Message) {
        drop(self.uapi.take());
        self.messages.send(last);
        if let Some(worker) = self.worker.take()
            && worker.join().is_err()
        {
            tracing::error!("the engine's thread panicked");
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shut_down(Message::Stop);
    }
}

fn io_error(what: &'static str) -> impl FnOnce(io::Error) -> EngineError {
    move |source| EngineError::Io { what, source }
}
