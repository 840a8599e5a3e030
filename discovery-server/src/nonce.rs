//! Server nonces and the memory against replays, pure: time is an argument.
//!
//! A nonce is a time of the server's own monotonic clock with a MAC under a key that lives as long as
//! the process: nothing is stored for it, and a restart invalidates all of them, which costs a client
//! one more request.

use std::collections::HashSet;

use mesh_proto::ClusterId;
use mesh_proto::ids::{from_hex, to_hex};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

const MAC_BYTES: usize = 16;

/// Makes and checks nonces.
pub struct Nonces {
    key: [u8; 32],
    life_ms: u64,
    ahead_ms: u64,
}

impl std::fmt::Debug for Nonces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Nonces(hidden, {} ms)", self.life_ms)
    }
}

impl Nonces {
    /// Nonces under `key`, valid for `life_ms` milliseconds.
    #[must_use]
    pub const fn new(key: [u8; 32], life_ms: u64) -> Self {
        Self {
            key,
            life_ms,
            ahead_ms: 0,
        }
    }

    /// Takes also what a replica made whose clock is up to `ahead_ms` ahead.
    #[must_use]
    pub const fn made_up_to(self, ahead_ms: u64) -> Self {
        Self { ahead_ms, ..self }
    }

    /// A nonce made at `now_ms`.
    #[must_use]
    pub fn make(&self, now_ms: u64) -> String {
        let mut bytes = [0; 8 + MAC_BYTES];
        bytes[..8].copy_from_slice(&now_ms.to_be_bytes());
        bytes[8..].copy_from_slice(&self.mac(now_ms));
        to_hex(&bytes)
    }

    /// True if this process made `nonce` and it is not too old.
    #[must_use]
    pub fn is_valid(&self, nonce: &str, now_ms: u64) -> bool {
        let Some(bytes) = from_hex::<{ 8 + MAC_BYTES }>(nonce) else {
            return false;
        };
        let (at, mac) = bytes.split_at(8);
        let at_ms = at
            .iter()
            .fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        bool::from(self.mac(at_ms)[..].ct_eq(mac))
            && at_ms <= now_ms.saturating_add(self.ahead_ms)
            && now_ms.saturating_sub(at_ms) <= self.life_ms
    }

    /// The key enters both hashes, so that the construction does not lean on the fixed length alone.
    fn mac(&self, at_ms: u64) -> [u8; MAC_BYTES] {
        let inner = Sha256::new()
            .chain_update(self.key)
            .chain_update(b"mesh-nonce-v1")
            .chain_update(at_ms.to_be_bytes())
            .finalize();
        let outer = Sha256::new()
            .chain_update(self.key)
            .chain_update(inner)
            .finalize();
        let mut mac = [0; MAC_BYTES];
        mac.copy_from_slice(&outer[..MAC_BYTES]);
        mac
    }
}

/// What became of a request id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It is new and is remembered now.
    New,
    /// It came before: a replay.
    Again,
    /// The memory is full, so it cannot be told.
    Full,
}

/// Remembers requests at least as long as their nonces live, in two generations.
#[derive(Debug)]
pub struct ReplayMemory {
    life_ms: u64,
    capacity: usize,
    turned_ms: u64,
    current: HashSet<[u8; 16]>,
    previous: HashSet<[u8; 16]>,
}

impl ReplayMemory {
    /// Remembers for `life_ms`, at most `capacity` requests a generation.
    #[must_use]
    pub fn new(life_ms: u64, capacity: usize) -> Self {
        Self {
            life_ms,
            capacity,
            turned_ms: 0,
            current: HashSet::new(),
            previous: HashSet::new(),
        }
    }

    /// Looks up and remembers the request of `cluster` with this id. Both are what was proven by the
    /// signature: the text of a header may have more than one form.
    pub fn see(&mut self, cluster: &ClusterId, request_id: &str, now_ms: u64) -> Seen {
        if now_ms - self.turned_ms.min(now_ms) > self.life_ms {
            let idle = now_ms - self.turned_ms > self.life_ms * 2;
            self.previous = std::mem::take(&mut self.current);
            if idle {
                self.previous.clear();
            }
            self.turned_ms = now_ms;
        }
        let digest = Sha256::new()
            .chain_update(cluster.as_bytes())
            .chain_update(request_id)
            .finalize();
        let mut key = [0; 16];
        key.copy_from_slice(&digest[..16]);
        if self.current.contains(&key) || self.previous.contains(&key) {
            return Seen::Again;
        }
        if self.current.len() >= self.capacity {
            return Seen::Full;
        }
        self.current.insert(key);
        Seen::New
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const K: ClusterId = ClusterId([1; 32]);
    const OTHER: ClusterId = ClusterId([2; 32]);

    #[test]
    fn nonces_expire_and_cannot_be_made_up() {
        let nonces = Nonces::new([1; 32], 120_000);
        let nonce = nonces.make(1000);
        assert!(nonces.is_valid(&nonce, 1000));
        assert!(nonces.is_valid(&nonce, 121_000));
        assert!(!nonces.is_valid(&nonce, 121_001), "too old");
        assert!(!nonces.is_valid(&nonce, 999), "from the future");
        assert!(
            !Nonces::new([2; 32], 120_000).is_valid(&nonce, 1000),
            "another key"
        );
        let tolerant = Nonces::new([1; 32], 120_000).made_up_to(30);
        assert!(tolerant.is_valid(&nonce, 970) && !tolerant.is_valid(&nonce, 969));
        for index in 0..nonce.len() {
            let mut forged = nonce.clone().into_bytes();
            forged[index] = if forged[index] == b'0' { b'1' } else { b'0' };
            assert!(!nonces.is_valid(&String::from_utf8(forged).unwrap(), 2000));
        }
        for bad in ["", "00", &"z".repeat(48)] {
            assert!(!nonces.is_valid(bad, 1000), "{bad}");
        }
    }

    #[test]
    fn a_request_is_remembered_for_its_nonces_life() {
        let mut memory = ReplayMemory::new(100, 1000);
        assert_eq!(memory.see(&K, "1", 0), Seen::New);
        for at in (1..=100).step_by(9) {
            assert_eq!(memory.see(&K, "1", at), Seen::Again, "{at}");
        }
        assert_eq!(memory.see(&K, "2", 99), Seen::New);
        assert_eq!(memory.see(&K, "2", 199), Seen::Again);
        assert_eq!(memory.see(&OTHER, "2", 199), Seen::New);
        assert_eq!(memory.see(&K, "1", 500), Seen::New);
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut memory = ReplayMemory::new(100, 2);
        assert_eq!(memory.see(&K, "1", 0), Seen::New);
        assert_eq!(memory.see(&K, "2", 0), Seen::New);
        assert_eq!(memory.see(&K, "3", 0), Seen::Full);
        assert_eq!(memory.see(&K, "1", 0), Seen::Again);
    }
}
