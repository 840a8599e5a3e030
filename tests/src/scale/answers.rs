//! Data between the joining node and every other one: small packets out, echoes back. The first echo of
//! a node proves that data passes its tunnel in both directions.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::star::Star;
use crate::lab::LabError;
use crate::recovery::stream::bind;

const PORT: u16 = 5005;
/// Between two packets to a node that has not answered yet: the resolution of the result.
const INTERVAL: Duration = Duration::from_millis(10);

/// A node that answers on each resident; ends when dropped.
#[derive(Debug)]
pub struct Echoes {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    joiner: UdpSocket,
    residents: Vec<SocketAddr>,
}

impl Echoes {
    /// Opens a socket on every node; all but the last one answer.
    ///
    /// # Errors
    /// If an address cannot be bound.
    pub fn start(star: &Star) -> Result<Self, LabError> {
        let mut sockets = Vec::new();
        for (number, node) in star.nodes().iter().enumerate() {
            let address = std::net::SocketAddrV4::new(star.address(number), PORT);
            let socket = bind(node.entry(), address)?;
            let nonblocking = socket.set_nonblocking(true);
            nonblocking.map_err(LabError::io("make a socket non-blocking"))?;
            sockets.push(socket);
        }
        let Some(joiner) = sockets.pop() else {
            return Err(LabError::Unusable("no node".to_owned()));
        };
        let residents = (0..sockets.len()).map(|number| (star.address(number), PORT).into());
        let residents = residents.collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || echo(&sockets, &stopped));
        Ok(Self {
            stop,
            thread: Some(thread),
            joiner,
            residents,
        })
    }

    /// When each node's first answer came, counted from `start`, in order.
    ///
    /// # Errors
    /// If some have not answered after `limit`.
    pub fn first_answers(
        &self,
        start: Instant,
        limit: Duration,
    ) -> Result<Vec<Duration>, LabError> {
        // An echo of an earlier run is no answer to this one.
        let token = rand_token();
        let mut answers: BTreeMap<IpAddr, Duration> = BTreeMap::new();
        let mut buffer = [0; 64];
        while answers.len() < self.residents.len() {
            if start.elapsed() > limit {
                return Err(self.missing(&answers, limit));
            }
            for to in &self.residents {
                if !answers.contains_key(&to.ip()) {
                    // Refused while there is no tunnel: that is what is measured.
                    let _ = self.joiner.send_to(&token, to);
                }
            }
            let next = Instant::now() + INTERVAL;
            while let Some(rest) = next.checked_duration_since(Instant::now()) {
                wait_readable(&[&self.joiner], rest);
                while let Ok((length, from)) = self.joiner.recv_from(&mut buffer) {
                    if buffer[..length] == token {
                        answers.entry(from.ip()).or_insert_with(|| start.elapsed());
                    }
                }
            }
        }
        let mut times: Vec<_> = answers.into_values().collect();
        times.sort();
        Ok(times)
    }

    fn missing(&self, answers: &BTreeMap<IpAddr, Duration>, limit: Duration) -> LabError {
        let silent = |to: &&SocketAddr| !answers.contains_key(&to.ip());
        let silent: Vec<_> = self.residents.iter().filter(silent).take(10).collect();
        LabError::Timeout {
            what: "an answer of every node".to_owned(),
            seconds: limit.as_secs(),
            last: format!("{} answered; among the others {silent:?}", answers.len()),
        }
    }
}

impl Drop for Echoes {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn rand_token() -> [u8; 8] {
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos();
    u64::try_from(nanos).unwrap_or_default().to_be_bytes()
}

fn echo(sockets: &[UdpSocket], stop: &AtomicBool) {
    let all: Vec<_> = sockets.iter().collect();
    let mut buffer = [0; 64];
    while !stop.load(Ordering::Relaxed) {
        wait_readable(&all, Duration::from_millis(50));
        for socket in sockets {
            while let Ok((length, from)) = receive(socket, &mut buffer) {
                // Refused while the tunnel is not up: it is asked again.
                let _ = socket.send_to(&buffer[..length], from);
            }
        }
    }
}

/// A pending ICMP error is not the end of what is readable.
fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    match socket.recv_from(buffer) {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => socket.recv_from(buffer),
        done => done,
    }
}

fn wait_readable(sockets: &[&UdpSocket], limit: Duration) {
    let mut fds: Vec<_> = sockets
        .iter()
        .map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN))
        .collect();
    let limit = limit.max(Duration::from_millis(1));
    let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::ZERO);
    // An interrupted wait is only a shorter one.
    let _ = poll(&mut fds, limit);
}
