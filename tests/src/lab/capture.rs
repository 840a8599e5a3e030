//! Captures what passes the interfaces of one machine, into memory, by a packet socket. No filter: the
//! checks judge afterwards.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;

use super::classify::{Kind, classify};
use super::error::LabError;
use super::namespace::Namespace;

/// Most bytes of frames kept; later ones are counted as lost.
const MAX_BYTES: usize = 512 << 20;
/// Larger than any frame, segmentation offload included.
const FRAME_BYTES: usize = 1 << 17;
const SOCKET_BUFFER_BYTES: usize = 32 << 20;

/// A running capture.
#[derive(Debug)]
pub struct Capture {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Frames, LabError>>>,
}

/// What was captured.
#[derive(Debug, Default)]
pub struct Frames {
    /// In order of time.
    pub frames: Vec<Frame>,
    /// Frames that there was no room for.
    pub lost: u64,
}

/// One captured frame.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Wall clock time.
    pub at: SystemTime,
    /// Interface it passed.
    pub interface: Arc<str>,
    /// The whole frame.
    pub bytes: Vec<u8>,
}

impl Capture {
    /// Starts capturing on every interface of `machine`; returns when it does.
    ///
    /// # Errors
    /// If the socket cannot be made.
    pub fn start(machine: &Namespace) -> Result<Self, LabError> {
        let names = interface_names(machine)?;
        let entry = machine.entry().clone();
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let (ready, opened) = mpsc::channel();
        let thread = thread::spawn(move || {
            let socket = entry.enter_network().and_then(|()| open());
            match socket {
                Ok(socket) => {
                    let _ = ready.send(Ok(()));
                    receive(&socket, &names, &told)
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                    Ok(Frames::default())
                }
            }
        });
        opened
            .recv()
            .map_err(|_| LabError::Unusable("the capture thread died".to_owned()))??;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Ends the capture, after what has already passed is taken in.
    ///
    /// # Errors
    /// If the socket failed meanwhile.
    pub fn finish(mut self) -> Result<Frames, LabError> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("taken only here");
        thread
            .join()
            .map_err(|_| LabError::Unusable("the capture thread died".to_owned()))?
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Frames {
    /// Frames that contain `needle` anywhere.
    pub fn containing<'a>(&'a self, needle: &'a [u8]) -> impl Iterator<Item = &'a Frame> {
        self.frames
            .iter()
            .filter(move |frame| frame.contains(needle))
    }

    /// Number of frames of each kind.
    #[must_use]
    pub fn count(&self, discovery: SocketAddrV4) -> BTreeMap<Kind, usize> {
        let mut counts = BTreeMap::new();
        for frame in &self.frames {
            *counts.entry(classify(&frame.bytes, discovery)).or_default() += 1;
        }
        counts
    }

    /// Frames that may not be there.
    pub fn foreign(&self, discovery: SocketAddrV4) -> impl Iterator<Item = &Frame> {
        self.frames
            .iter()
            .filter(move |frame| classify(&frame.bytes, discovery) == Kind::Foreign)
    }
}

impl Frame {
    /// True if `needle` is anywhere in it.
    #[must_use]
    pub fn contains(&self, needle: &[u8]) -> bool {
        !needle.is_empty()
            && self
                .bytes
                .windows(needle.len())
                .any(|window| window == needle)
    }
}

fn open() -> Result<OwnedFd, LabError> {
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthAll,
    )
    .map_err(LabError::io("open a packet socket"))?;
    setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BUFFER_BYTES)
        .map_err(LabError::io("size a packet socket"))?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(0, 50_000))
        .map_err(LabError::io("bound a packet socket"))?;
    Ok(socket)
}

/// Takes frames until told to stop and nothing has come for a moment.
fn receive(
    socket: &OwnedFd,
    names: &BTreeMap<usize, Arc<str>>,
    stop: &AtomicBool,
) -> Result<Frames, LabError> {
    let unknown: Arc<str> = "?".into();
    let mut buffer = vec![0; FRAME_BYTES];
    let mut frames = Frames::default();
    let mut kept = 0;
    let mut ending = None;
    loop {
        if stop.load(Ordering::Relaxed) && ending.is_none() {
            ending = Some(SystemTime::now());
        }
        match recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut buffer) {
            Ok((length, from)) => {
                let at = SystemTime::now();
                if ending.is_some_and(|end| at > end + Duration::from_millis(200)) {
                    break;
                }
                kept += length;
                if kept > MAX_BYTES {
                    frames.lost += 1;
                    continue;
                }
                let name = from.and_then(|from| names.get(&from.ifindex()));
                frames.frames.push(Frame {
                    at,
                    interface: Arc::clone(name.unwrap_or(&unknown)),
                    bytes: buffer[..length].to_vec(),
                });
            }
            Err(Errno::EAGAIN | Errno::EINTR) if ending.is_some() => break,
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ENETDOWN) => {}
            Err(error) => return Err(LabError::io("capture")(error)),
        }
    }
    frames.lost += u64::from(dropped(socket)?);
    Ok(frames)
}

/// Frames the kernel had no room for.
fn dropped(socket: &OwnedFd) -> Result<u32, LabError> {
    let mut statistics = nix::libc::tpacket_stats {
        tp_packets: 0,
        tp_drops: 0,
    };
    let mut length = size_of::<nix::libc::tpacket_stats>() as nix::libc::socklen_t;
    // SAFETY: the pointer and the length describe `statistics`, which outlives the call, and the kernel
    // writes at most that many bytes for PACKET_STATISTICS of a version 1 packet socket.
    let result = unsafe {
        nix::libc::getsockopt(
            socket.as_raw_fd(),
            nix::libc::SOL_PACKET,
            nix::libc::PACKET_STATISTICS,
            (&raw mut statistics).cast(),
            &raw mut length,
        )
    };
    Errno::result(result).map_err(LabError::io("read capture statistics"))?;
    Ok(statistics.tp_drops)
}

/// Interface names by number, from `ip -o link`: `4: eth0@if5: <…`.
fn interface_names(machine: &Namespace) -> Result<BTreeMap<usize, Arc<str>>, LabError> {
    let text = machine.run("ip", &["-o", "link"])?;
    let parse = |line: &str| {
        let mut parts = line.split(": ");
        let number = parts.next()?.trim().parse().ok()?;
        let name = parts.next()?.split('@').next()?;
        Some((number, Arc::from(name)))
    };
    Ok(text.lines().filter_map(parse).collect())
}
