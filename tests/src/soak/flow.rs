//! Numbered packets of known content at a steady rate, and what became of them. Judges nothing.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use serde::Serialize;

use crate::lab::LabError;
use crate::lab::namespace::Entry;
use crate::recovery::stream::bind;

/// UDP payload of each packet.
pub const PACKET_BYTES: usize = 1200;
/// Packets leave in bursts so far apart.
const TICK: Duration = Duration::from_micros(500);
/// A sender that is later than this leaves packets out: a burst would say nothing of the tunnel.
const PATIENCE: Duration = Duration::from_millis(4);
/// What is still on its way when the sender stops arrives within this.
const DRAIN: Duration = Duration::from_millis(500);
/// Room in the receiving socket: the receiver's own delays are not the tunnel's.
const BUFFER_BYTES: usize = 64 * 1024 * 1024;
/// Numbers that a late packet may lie back.
const WINDOW: usize = 1 << 16;

/// What became of the packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Packets that the kernel took from the sender.
    pub sent: u64,
    /// Packets that arrived for the first time, as they were sent.
    pub received: u64,
    /// Packets that are not what was sent.
    pub corrupted: u64,
    /// Packets that had arrived before.
    pub repeated: u64,
    /// Packets that a later one had overtaken.
    pub overtaken: u64,
}

impl Tally {
    /// Packets that did not arrive.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }
}

/// A running transfer.
#[derive(Debug)]
pub struct Flow {
    stop_sending: Arc<AtomicBool>,
    stop_receiving: Arc<AtomicBool>,
    sender: Option<JoinHandle<u64>>,
    receiver: Option<JoinHandle<Tally>>,
}

impl Flow {
    /// Starts sending `rate` packets a second from one address to another, each bound in the machine that
    /// has it.
    ///
    /// # Errors
    /// If an address cannot be bound there.
    pub fn start(
        from: (&Entry, SocketAddrV4),
        to: (&Entry, SocketAddrV4),
        rate: f64,
    ) -> Result<Self, LabError> {
        let sender = bind(from.0, from.1)?;
        let receiver = bind(to.0, to.1)?;
        for socket in [&sender, &receiver] {
            // Labs run as root.
            setsockopt(socket, sockopt::RcvBufForce, &BUFFER_BYTES)
                .and_then(|()| setsockopt(socket, sockopt::SndBufForce, &BUFFER_BYTES))
                .map_err(LabError::io("set a buffer's size"))?;
        }
        receiver
            .set_read_timeout(Some(DRAIN / 5))
            .map_err(LabError::io("set a read timeout"))?;
        let stop_sending = Arc::new(AtomicBool::new(false));
        let stop_receiving = Arc::new(AtomicBool::new(false));
        let (stop, target) = (Arc::clone(&stop_sending), SocketAddr::V4(to.1));
        let sending = thread::spawn(move || send(&sender, target, rate, &stop));
        let stop = Arc::clone(&stop_receiving);
        let receiving = thread::spawn(move || receive(&receiver, &stop));
        Ok(Self {
            stop_sending,
            stop_receiving,
            sender: Some(sending),
            receiver: Some(receiving),
        })
    }

    /// Stops; what became of everything.
    #[must_use]
    pub fn stop(mut self) -> Tally {
        self.finish()
    }

    fn finish(&mut self) -> Tally {
        self.stop_sending.store(true, Ordering::Relaxed);
        let sent = self.sender.take().and_then(|thread| thread.join().ok());
        thread::sleep(if sent.is_some() {
            DRAIN
        } else {
            Duration::ZERO
        });
        self.stop_receiving.store(true, Ordering::Relaxed);
        let tally = self.receiver.take().and_then(|thread| thread.join().ok());
        Tally {
            sent: sent.unwrap_or_default(),
            ..tally.unwrap_or_default()
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.finish();
    }
}

/// The content of packet `number`: the number, and words that follow from it.
fn fill(number: u64, packet: &mut [u8; PACKET_BYTES]) {
    let mut state = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for (at, word) in packet.chunks_exact_mut(8).enumerate() {
        let value = if at == 0 { number } else { state };
        word.copy_from_slice(&value.to_le_bytes());
        state = state.rotate_left(23).wrapping_mul(0xd134_2543_de82_ef95);
    }
}

fn send(socket: &UdpSocket, to: SocketAddr, rate: f64, stop: &AtomicBool) -> u64 {
    let mut packet = [0; PACKET_BYTES];
    let mut begin = Instant::now();
    let (mut number, mut in_step) = (0_u64, 0_u64);
    while !stop.load(Ordering::Relaxed) {
        let due = (begin.elapsed().as_secs_f64() * rate) as u64;
        let late = due.saturating_sub(in_step) as f64 / rate;
        if late > PATIENCE.as_secs_f64() {
            begin = Instant::now();
            in_step = 0;
            continue;
        }
        while in_step < due {
            fill(number, &mut packet);
            in_step += 1;
            // What the kernel refuses has not been sent.
            if socket.send_to(&packet, to).is_ok() {
                number += 1;
            }
        }
        thread::sleep(TICK);
    }
    number
}

fn receive(socket: &UdpSocket, stop: &AtomicBool) -> Tally {
    let mut tally = Tally::default();
    let mut expected = [0; PACKET_BYTES];
    let mut buffer = [0; 2048];
    let mut seen = Seen::default();
    while !stop.load(Ordering::Relaxed) {
        let length = match socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(_) => continue,
        };
        let number = buffer
            .first_chunk()
            .map_or(0, |bytes| u64::from_le_bytes(*bytes));
        fill(number, &mut expected);
        if buffer[..length] != expected {
            tally.corrupted += 1;
            continue;
        }
        match seen.note(number) {
            Arrival::First => tally.received += 1,
            Arrival::Late => {
                tally.received += 1;
                tally.overtaken += 1;
            }
            Arrival::Again => tally.repeated += 1,
        }
    }
    tally
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arrival {
    First,
    Late,
    Again,
}

/// Which of the latest numbers have arrived.
#[derive(Debug)]
struct Seen {
    next: u64,
    numbers: Vec<u64>,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            next: 0,
            numbers: vec![u64::MAX; WINDOW],
        }
    }
}

impl Seen {
    fn note(&mut self, number: u64) -> Arrival {
        let place = &mut self.numbers[number as usize % WINDOW];
        // One that lies back by more than the window counts as new at most: never as lost.
        if *place == number {
            return Arrival::Again;
        }
        *place = number;
        if number < self.next {
            return Arrival::Late;
        }
        self.next = number + 1;
        Arrival::First
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_follows_from_the_number_and_only_from_it() {
        let [mut a, mut b] = [[0; PACKET_BYTES]; 2];
        fill(7, &mut a);
        fill(7, &mut b);
        assert_eq!(a, b);
        fill(8, &mut b);
        let equal = a.chunks(8).zip(b.chunks(8)).filter(|(a, b)| a == b);
        assert_eq!(equal.count(), 0);
    }

    #[test]
    fn arrivals_are_told_apart() {
        let mut seen = Seen::default();
        let arrivals = [0, 1, 3, 2, 3, 2, 4].map(|number| seen.note(number));
        let (first, late, again) = (Arrival::First, Arrival::Late, Arrival::Again);
        assert_eq!(arrivals, [first, first, first, late, again, again, first]);
    }
}
