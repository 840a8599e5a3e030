//! HTTP/1.1 as far as one needs it to talk to the server from thousands of connections: requests, short
//! answers, and streams in chunks. Holds no buffer for a connection that waits.

use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

/// Longer heads are no answer of this server.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Longer answers, streams apart, are none either.
const MAX_BODY_BYTES: usize = 1 << 20;
const READ_BYTES: usize = 64 * 1024;

thread_local! {
    /// One for each thread, not each connection: ten thousand idle watchers must not cost memory here.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// Bytes of all connections, without TCP and IP headers.
#[derive(Debug, Default)]
pub struct Traffic {
    bytes: AtomicU64,
}

impl Traffic {
    /// Bytes in both directions so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    traffic: Arc<Traffic>,
    /// Read but not used yet.
    rest: Vec<u8>,
}

impl Connection {
    /// Connects from the loopback address `source`, which stands for a site of its own.
    ///
    /// # Errors
    /// What the system says.
    pub async fn open(
        server: SocketAddr,
        source: Ipv4Addr,
        traffic: Arc<Traffic>,
    ) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((source, 0).into())?;
        let stream = socket.connect(server).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            traffic,
            rest: Vec::new(),
        })
    }

    /// Sends a request.
    ///
    /// # Errors
    /// What the system says.
    pub async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&'static str, String)],
        body: &[u8],
    ) -> io::Result<()> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: scale\r\n");
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() {
            request += &format!("content-length: {}\r\n", body.len());
        }
        let mut request = (request + "\r\n").into_bytes();
        request.extend_from_slice(body);
        self.traffic.add(request.len());
        self.stream.write_all(&request).await
    }

    /// Status and body of an answer that has a length.
    ///
    /// # Errors
    /// If the connection ends or what comes is no such answer.
    pub async fn answer(&mut self) -> io::Result<(u16, Vec<u8>)> {
        let (status, length) = self.head().await?;
        let length = length.filter(|length| *length <= MAX_BODY_BYTES);
        let length = length.ok_or_else(|| broken("an answer without a sensible length"))?;
        while self.rest.len() < length {
            self.read_more().await?;
        }
        let tail = self.rest.split_off(length);
        Ok((status, std::mem::replace(&mut self.rest, tail)))
    }

    /// Status of an answer whose body is a stream.
    ///
    /// # Errors
    /// As [`Self::answer`].
    pub async fn stream(&mut self) -> io::Result<u16> {
        Ok(self.head().await?.0)
    }

    /// What came next of a stream, at once and undecoded.
    ///
    /// # Errors
    /// If the connection ends.
    pub async fn next(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        if !self.rest.is_empty() {
            take(&std::mem::take(&mut self.rest));
            return Ok(());
        }
        loop {
            self.stream.readable().await?;
            let read: io::Result<usize> = BUFFER.with_borrow_mut(|buffer| {
                let read = self.stream.try_read(buffer)?;
                take(&buffer[..read]);
                Ok(read)
            });
            match read {
                Ok(0) => return Err(broken("the server closed the connection")),
                Ok(read) => {
                    self.traffic.add(read);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn head(&mut self) -> io::Result<(u16, Option<usize>)> {
        let end = loop {
            if let Some(at) = self.rest.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            if self.rest.len() > MAX_HEAD_BYTES {
                return Err(broken("an endless head"));
            }
            self.read_more().await?;
        };
        let tail = self.rest.split_off(end);
        let head = std::mem::replace(&mut self.rest, tail);
        let head = String::from_utf8_lossy(&head);
        let status = head.get(9..12).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| broken("no status"))?;
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_length = name.eq_ignore_ascii_case("content-length");
            is_length.then(|| value.trim().parse().ok())?
        });
        Ok((status, length.or((status == 204).then_some(0))))
    }

    async fn read_more(&mut self) -> io::Result<()> {
        let mut more = Vec::new();
        let held = std::mem::take(&mut self.rest);
        self.next(|bytes| more.extend_from_slice(bytes)).await?;
        self.rest = held;
        self.rest.append(&mut more);
        Ok(())
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// Takes chunked transfer coding off a stream (RFC 9112 section 7.1), without extensions and trailers.
#[derive(Debug, Default)]
pub struct Chunks {
    /// Data bytes left in this chunk.
    left: usize,
    /// The size line so far.
    size: Vec<u8>,
    /// The line feed behind a chunk's data is still to come.
    closing: bool,
}

impl Chunks {
    /// Appends the data in `bytes` to `out`. False if this is no chunked stream, or its end.
    pub fn decode(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> bool {
        while let Some((first, others)) = bytes.split_first() {
            if self.left > 0 {
                let (data, others) = bytes.split_at(self.left.min(bytes.len()));
                out.extend_from_slice(data);
                self.left -= data.len();
                self.closing = self.left == 0;
                bytes = others;
                continue;
            }
            bytes = others;
            match first {
                b'\r' => {}
                b'\n' if self.closing => self.closing = false,
                b'\n' => {
                    let size = std::str::from_utf8(&self.size).ok();
                    let size = size.and_then(|digits| usize::from_str_radix(digits, 16).ok());
                    self.size.clear();
                    match size {
                        Some(size) if size > 0 => self.left = size,
                        _ => return false,
                    }
                }
                digit if self.size.len() < 8 => self.size.push(*digit),
                _ => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_come_out_whole_wherever_they_are_cut() {
        let wire = b"3\r\nabc\r\nf\r\n0123456789\r\ndef\r\n";
        for cut in 0..wire.len() {
            let (mut chunks, mut out) = (Chunks::default(), Vec::new());
            let (head, tail) = wire.split_at(cut);
            assert!(chunks.decode(head, &mut out) && chunks.decode(tail, &mut out));
            assert_eq!(out, b"abc0123456789\r\ndef", "cut at {cut}");
        }
    }

    #[test]
    fn the_last_chunk_and_nonsense_end_a_stream() {
        for wire in [&b"0\r\n\r\n"[..], b"xyz\r\n", b"123456789\r\n"] {
            assert!(!Chunks::default().decode(wire, &mut Vec::new()));
        }
    }
}
