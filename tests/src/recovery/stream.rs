//! A stream of small numbered packets between two machines, and when each arrived. Paced to 5 ms; what
//! cannot be sent is skipped, as real-time traffic does. Judges nothing.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::arrivals::Arrivals;
use crate::lab::LabError;
use crate::lab::namespace::Entry;

/// Between two packets.
pub const INTERVAL: Duration = Duration::from_millis(5);
/// How long a receiver may take to notice that it shall stop.
const POLL: Duration = Duration::from_millis(50);

/// One direction of the stream. Ends when dropped.
#[derive(Debug)]
pub struct Stream {
    stop: Arc<AtomicBool>,
    arrivals: Arc<Mutex<Arrivals>>,
    threads: Vec<JoinHandle<()>>,
}

impl Stream {
    /// Starts sending from one address to another, each bound in the machine that has it.
    ///
    /// # Errors
    /// If an address cannot be bound there.
    pub fn start(
        from: (&Entry, SocketAddrV4),
        to: (&Entry, SocketAddrV4),
    ) -> Result<Self, LabError> {
        let sender = bind(from.0, from.1)?;
        let receiver = bind(to.0, to.1)?;
        let timeout = receiver.set_read_timeout(Some(POLL));
        timeout.map_err(LabError::io("set a read timeout"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let arrivals = Arc::new(Mutex::new(Arrivals::default()));
        let (send_stop, receive_stop) = (Arc::clone(&stop), Arc::clone(&stop));
        let log = Arc::clone(&arrivals);
        let (source, target) = (SocketAddr::V4(from.1), SocketAddr::V4(to.1));
        let threads = vec![
            thread::spawn(move || send(&sender, target, &send_stop)),
            thread::spawn(move || receive(&receiver, source, &log, &receive_stop)),
        ];
        Ok(Self {
            stop,
            arrivals,
            threads,
        })
    }

    /// What has arrived up to now.
    #[must_use]
    pub fn arrivals(&self) -> Arrivals {
        // A receiver that panicked has stopped; what it noted stands.
        let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        arrivals.clone()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// A socket in a machine's network. It stays in the namespace it was made in, whichever thread uses it.
///
/// # Errors
/// If the address cannot be bound there.
pub(crate) fn bind(entry: &Entry, address: SocketAddrV4) -> Result<UdpSocket, LabError> {
    let entry = entry.clone();
    let opened = thread::spawn(move || {
        entry.enter_network()?;
        UdpSocket::bind(address).map_err(LabError::io(format!("bind {address}")))
    });
    let gone = || LabError::Unusable("the thread that opens sockets is gone".to_owned());
    opened.join().map_err(|_| gone())?
}

fn send(socket: &UdpSocket, to: SocketAddr, stop: &AtomicBool) {
    let mut due = Instant::now();
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        // Refusals are part of what is measured: no route, no session yet, a link that is down.
        let _ = socket.send_to(&number.to_be_bytes(), to);
        number += 1;
        due += INTERVAL;
        let now = Instant::now();
        match due.checked_duration_since(now) {
            Some(rest) => thread::sleep(rest),
            // Late: go on from here, a burst would hide the gap.
            None => due = now,
        }
    }
}

fn receive(socket: &UdpSocket, from: SocketAddr, log: &Mutex<Arrivals>, stop: &AtomicBool) {
    let mut buffer = [0; 64];
    while !stop.load(Ordering::Relaxed) {
        match socket.recv_from(&mut buffer) {
            Ok((_, source)) if source == from => {
                let mut arrivals = log.lock().unwrap_or_else(PoisonError::into_inner);
                arrivals.note(Instant::now());
            }
            Ok(_) => {}
            Err(error) if is_pause(&error) => {}
            // The address is gone, or an ICMP message came back: it may be there again.
            Err(_) => thread::sleep(INTERVAL),
        }
    }
}

fn is_pause(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}
