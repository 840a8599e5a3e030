//! Heartbeats: the line is the same for all streams that stand at the same revision, so it is made once a second
//! and not once a stream.

use std::sync::Mutex;

use bytes::Bytes;
use mesh_proto::discovery::{Revision, WatchEvent};

use crate::nonce::Nonces;
use crate::registry::encode_line;
use crate::shared::lock;

/// How long a nonce is handed out in heartbeats; it lives for two minutes.
const SAME_MS: u64 = 1000;

/// The last line.
#[derive(Debug, Default)]
pub struct Heartbeats {
    last: Mutex<Option<Last>>,
}

#[derive(Debug)]
struct Last {
    made_ms: u64,
    nonce: String,
    revision: Revision,
    line: Bytes,
}

impl Heartbeats {
    /// The line for a stream at `revision`, with a nonce at most a second older than `now_ms`, the clock of
    /// nonces.
    pub fn line(&self, revision: Revision, nonces: &Nonces, now_ms: u64) -> Bytes {
        let mut last = lock(&self.last);
        let known = last.take().filter(|known| {
            (known.made_ms..known.made_ms.saturating_add(SAME_MS)).contains(&now_ms)
        });
        let (made_ms, nonce) = match known {
            Some(known) if known.revision == revision => {
                let line = known.line.clone();
                *last = Some(known);
                return line;
            }
            Some(known) => (known.made_ms, known.nonce),
            None => (now_ms, nonces.make(now_ms)),
        };
        let line = encode_line(&WatchEvent::Heartbeat {
            revision,
            nonce: nonce.clone(),
        });
        *last = Some(Last {
            made_ms,
            nonce,
            revision,
            line: line.clone(),
        });
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(line: &[u8]) -> (Revision, String) {
        match serde_json::from_slice(line).unwrap() {
            WatchEvent::Heartbeat { revision, nonce } => (revision, nonce),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_has_its_revision_and_a_nonce_of_this_second() {
        let nonces = Nonces::new([7; 32], 120_000);
        let heartbeats = Heartbeats::default();
        let at = |n| Revision { epoch: 3, n };
        for (n, now_ms, made_ms) in [
            (1, 5000, 5000),
            (1, 5900, 5000),
            (2, 5999, 5000),
            (1, 5999, 5000),
            (1, 6000, 6000),
            (2, 9000, 9000),
            // The clock went back, as that of replicas may.
            (2, 8999, 8999),
        ] {
            let line = heartbeats.line(at(n), &nonces, now_ms);
            let expected = (at(n), nonces.make(made_ms));
            assert_eq!(parts(&line), expected, "{n} at {now_ms}");
        }
    }
}
