//! The socket that wg(8) reads: the WireGuard cross-platform interface on
//! `/var/run/wireguard/NAME.sock`. Read only: meshd owns the device, so changes are refused.
//!
//! A thread of its own serves one client after the other, with bounds on time and size; it asks the
//! worker for a copy of the device, so that the data path has no lock.

mod format;
mod request;

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::stat::{Mode, umask};

use super::queue::{Message, MessageSender};
use request::{Request, RequestReader};

/// Where wg(8) looks.
pub(super) const DIRECTORY: &str = "/var/run/wireguard";
/// What one client may take altogether.
const CLIENT_TIME: Duration = Duration::from_secs(2);

/// True if `bytes` hold a whole request of the UAPI socket. For fuzzing.
#[doc(hidden)]
#[must_use]
pub fn is_uapi_request(bytes: &[u8]) -> bool {
    matches!(RequestReader::default().push(bytes), Ok(Some(_)))
}

/// The running server. Dropping it ends the thread and removes the socket.
#[derive(Debug)]
pub(super) struct UapiServer {
    path: PathBuf,
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl UapiServer {
    /// Serves `interface`.
    pub(super) fn start(interface: &str, worker: MessageSender) -> io::Result<Self> {
        Self::start_in(Path::new(DIRECTORY), interface, worker)
    }

    fn start_in(directory: &Path, interface: &str, worker: MessageSender) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let path = socket_in(directory, interface);
        let listener = bind(&path)?;
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let stop = Arc::new(EventFd::from_flags(flags)?);
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("engine-uapi".to_owned())
            .spawn(move || serve(&listener, &stopped, &worker))?;
        Ok(Self {
            path,
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for UapiServer {
    fn drop(&mut self) {
        let _ = self.stop.write(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = fs::remove_file(&self.path);
    }
}

pub(super) fn socket_in(directory: &Path, interface: &str) -> PathBuf {
    directory.join(format!("{interface}.sock"))
}

/// Binds a socket only this user can open, in place of one that nobody serves any more.
fn bind(path: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(path).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let former = umask(Mode::S_IRWXG | Mode::S_IRWXO | Mode::S_IXUSR);
    let listener = UnixListener::bind(path);
    umask(former);
    let listener = listener?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn serve(listener: &UnixListener, stop: &EventFd, worker: &MessageSender) {
    loop {
        let mut descriptors = [
            PollFd::new(listener.as_fd(), PollFlags::POLLIN),
            PollFd::new(stop.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut descriptors, PollTimeout::NONE) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(_) => return,
        }
        if descriptors[1].any().unwrap_or(true) {
            return;
        }
        if let Ok((client, _)) = listener.accept()
            && let Err(error) = serve_client(client, stop, worker)
        {
            tracing::debug!(%error, "a client of the wg socket failed");
        }
    }
}

fn serve_client(client: UnixStream, stop: &EventFd, worker: &MessageSender) -> io::Result<()> {
    client.set_nonblocking(true)?;
    let mut session = Session {
        client,
        stop,
        deadline: Instant::now() + CLIENT_TIME,
    };
    let answer = match session.read_request()? {
        Request::Get => {
            let (reply, device) = mpsc::sync_channel(1);
            worker.send(Message::Snapshot(reply));
            match device.recv_timeout(session.remaining()?) {
                Ok(device) => format::device(&device),
                Err(_) => format::error(libc::EIO),
            }
        }
        Request::Set => format::error(libc::EPERM),
        Request::Unknown => format::error(libc::EINVAL),
    };
    session.write_all(answer.as_bytes())
}

/// A client, until its time is up or the server stops.
#[derive(Debug)]
struct Session<'a> {
    client: UnixStream,
    stop: &'a EventFd,
    deadline: Instant,
}

impl Session<'_> {
    fn read_request(&mut self) -> io::Result<Request> {
        let mut reader = RequestReader::default();
        let mut buffer = [0; 1024];
        loop {
            self.wait(PollFlags::POLLIN)?;
            match self.client.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => {
                    let request = reader.push(&buffer[..length]);
                    if let Some(request) = request.map_err(io::Error::other)? {
                        return Ok(request);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.wait(PollFlags::POLLOUT)?;
            match self.client.write(bytes) {
                Ok(length) => bytes = &bytes[length..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn wait(&self, flags: PollFlags) -> io::Result<()> {
        let mut descriptors = [
            PollFd::new(self.client.as_fd(), flags),
            PollFd::new(self.stop.as_fd(), PollFlags::POLLIN),
        ];
        let timeout = PollTimeout::try_from(self.remaining()?).unwrap_or(PollTimeout::ZERO);
        poll(&mut descriptors, timeout)?;
        if descriptors[1].any().unwrap_or(true) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        Ok(())
    }

    fn remaining(&self) -> io::Result<Duration> {
        match self.deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(left),
        }
    }
}

#[cfg(test)]
mod tests;
