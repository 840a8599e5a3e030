//! Reflexive: what STUN servers see of the WireGuard port (RFC 8489). Asks over the WireGuard socket
//! itself, so that the answer is the mapping peers can use.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use mesh_proto::stun::{self, TransactionId};
use rand_chacha::ChaCha20Rng;
use rand_core::Rng as _;

use super::jitter;
use crate::data_plane::PathId;
use crate::timing::{REFLEXIVE_LIFETIME, STUN_INTERVAL, STUN_RETRY};

/// Requests of one round: 0, 0.5, 1.5 and 3.5 s.
const MAX_TRIES: u32 = 4;

/// The questions to one server.
#[derive(Debug)]
struct Target {
    address: SocketAddr,
    transaction: Option<TransactionId>,
    tries: u32,
    next: Instant,
    mapped: Option<(SocketAddr, Instant)>,
}

/// All servers by index.
#[derive(Debug, Default)]
pub(super) struct Reflexive(BTreeMap<usize, Target>);

impl Reflexive {
    /// A server was connected: ask its STUN now.
    pub(super) fn set_target(&mut self, server: usize, address: Option<SocketAddr>, now: Instant) {
        let Some(address) = address else {
            self.0.remove(&server);
            return;
        };
        let mapped = self
            .0
            .get(&server)
            .filter(|old| old.address == address)
            .and_then(|old| old.mapped);
        self.0.insert(
            server,
            Target {
                address,
                transaction: None,
                tries: 0,
                next: now,
                mapped,
            },
        );
    }

    /// Links changed: every answer may be another one now.
    pub(super) fn ask_again(&mut self, now: Instant) {
        for target in self.0.values_mut() {
            (target.transaction, target.tries, target.next) = (None, 0, now);
        }
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.0.values().map(|target| target.next).min()
    }

    /// Requests that are due now.
    pub(super) fn take_due(
        &mut self,
        now: Instant,
        rng: &mut ChaCha20Rng,
    ) -> Vec<(PathId, Vec<u8>)> {
        let mut out = Vec::new();
        for target in self.0.values_mut().filter(|target| target.next <= now) {
            if target.tries >= MAX_TRIES {
                target.tries = 0;
                target.transaction = None;
                target.next = now + jitter::about(rng, STUN_INTERVAL);
                continue;
            }
            let transaction = *target.transaction.get_or_insert_with(|| {
                let mut id = [0; 12];
                rng.fill_bytes(&mut id);
                TransactionId(id)
            });
            target.next = now + STUN_RETRY * (1 << target.tries);
            target.tries += 1;
            out.push((
                PathId::to(target.address),
                stun::encode_request(transaction).to_vec(),
            ));
        }
        out
    }

    /// A datagram that may be an answer. True if the reflexive addresses changed.
    pub(super) fn answered(
        &mut self,
        from: SocketAddr,
        datagram: &[u8],
        now: Instant,
        rng: &mut ChaCha20Rng,
    ) -> bool {
        let Some((id, mapped)) = stun::decode_response(datagram) else {
            return false;
        };
        let target = self
            .0
            .values_mut()
            .find(|target| target.transaction == Some(id) && target.address == from);
        let Some(target) = target else {
            return false;
        };
        target.transaction = None;
        target.tries = 0;
        target.next = now + jitter::about(rng, STUN_INTERVAL);
        let changed = target.mapped.is_none_or(|(old, _)| old != mapped);
        target.mapped = Some((mapped, now));
        changed
    }

    /// Drops what was not confirmed for long. True if something was.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let mut changed = false;
        for target in self.0.values_mut() {
            let old = target
                .mapped
                .is_some_and(|(_, at)| now.saturating_duration_since(at) >= REFLEXIVE_LIFETIME);
            if old {
                target.mapped = None;
                changed = true;
            }
        }
        changed
    }

    /// What the servers saw, in their order, each once.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let mut out = Vec::new();
        for (mapped, _) in self.0.values().filter_map(|target| target.mapped) {
            if !out.contains(&mapped) {
                out.push(mapped);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::SeedableRng as _;
    use std::time::Duration;

    #[test]
    fn asks_repeats_believes_only_answers_and_forgets() {
        let start = crate::mesh::tests::base_instant();
        let mut rng = ChaCha20Rng::from_seed([9; 32]);
        let server: SocketAddr = "198.51.100.1:7400".parse().unwrap();
        let mapped: SocketAddr = "203.0.113.9:40001".parse().unwrap();
        let mut reflexive = Reflexive::default();
        reflexive.set_target(0, Some(server), start);
        let asked = reflexive.take_due(start, &mut rng);
        let id = stun::decode_request(&asked[0].1).unwrap();
        let again = start + STUN_RETRY;
        assert_eq!(reflexive.next_due(), Some(again));
        assert_eq!(reflexive.take_due(again, &mut rng), asked, "same request");

        let answer = stun::encode_response(id, mapped);
        let forged = stun::encode_response(TransactionId([0; 12]), mapped);
        assert!(!reflexive.answered(server, &forged, again, &mut rng));
        assert!(!reflexive.answered(mapped, &answer, again, &mut rng));
        assert!(reflexive.answered(server, &answer, again, &mut rng));
        assert_eq!(reflexive.addresses(), [mapped]);
        assert!(reflexive.next_due().unwrap() > again + Duration::from_secs(20));

        assert!(!reflexive.expire(again + REFLEXIVE_LIFETIME / 2));
        assert!(reflexive.expire(again + REFLEXIVE_LIFETIME));
        assert!(reflexive.addresses().is_empty());
    }
}
