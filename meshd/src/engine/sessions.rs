//! The cryptographic sessions of one peer: those under its present preshared key, and for a while
//! those under the former one, so that changing the key interrupts nothing.

use std::fmt;
use std::mem;
use std::net::IpAddr;
use std::sync::Arc;

use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519;
use mesh_proto::{WgPrivateKey, WgPublicKey};
use meshd_core::data_plane::PeerSpec;

use super::allowed_ips::Slot;

/// Bits of a receiver index: 4 for the generation, 20 for the slot, 8 for the session layer.
const SLOT_BITS: u32 = 20;
const SESSION_BITS: u32 = 8;
const GENERATIONS: u32 = 1 << (32 - SLOT_BITS - SESSION_BITS);
/// Peers that receiver indices can tell apart.
pub(super) const MAX_PEERS: usize = 1 << SLOT_BITS;

/// The peer that a receiver index belongs to.
pub(super) const fn slot_of(index: u32) -> Slot {
    (index >> SESSION_BITS) & (MAX_PEERS as u32 - 1)
}

const fn generation_of(index: u32) -> u32 {
    index >> (SLOT_BITS + SESSION_BITS)
}

/// Public keys that agree on the same secret with everybody (RFC 7748 section 7): whoever has one has no
/// private key, and anybody could speak for it.
const LOW_ORDER: [[u8; 32]; 7] = {
    let mut points = [[0; 32]; 7];
    points[1][0] = 1;
    points[2] = [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ];
    points[3] = [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ];
    let mut at = 4;
    while at < 7 {
        points[at] = [0xff; 32];
        points[at][0] = 0xec + (at as u8 - 4);
        points[at][31] = 0x7f;
        at += 1;
    }
    points
};

/// True if a public key agrees on the same secret with everybody.
pub(super) fn is_low_order(key: &[u8; 32]) -> bool {
    let mut key = *key;
    // The highest bit means nothing.
    key[31] &= 0x7f;
    LOW_ORDER.contains(&key)
}

/// What sessions are made from: the node's key and the common bound on handshakes.
pub(super) struct DeviceKeys {
    /// Private key in the session layer's form.
    pub(super) secret: x25519::StaticSecret,
    /// Its public key.
    pub(super) public: x25519::PublicKey,
    /// Counts initiations and responses of all peers.
    pub(super) limiter: Arc<RateLimiter>,
}

impl DeviceKeys {
    /// Initiations and responses per second that never meet a cookie, however small the mesh.
    const MIN_HANDSHAKES: usize = 5000;

    /// Keys of a device that will have about `peers` peers.
    pub(super) fn new(private_key: &WgPrivateKey, peers: usize) -> Self {
        let secret = x25519::StaticSecret::from(*private_key.expose());
        let public = x25519::PublicKey::from(&secret);
        let limit = Self::handshake_limit(peers);
        let limiter = Arc::new(RateLimiter::new(&public, limit.into()));
        Self {
            secret,
            public,
            limiter,
        }
    }

    /// Initiations and responses per second that never meet a cookie. When this node restarts all peers
    /// answer within one second, and an initiation counts twice.
    pub(super) fn handshake_limit(peers: usize) -> u32 {
        let limit = Self::MIN_HANDSHAKES.max(peers.saturating_mul(4));
        u32::try_from(limit).unwrap_or(u32::MAX)
    }

    fn sessions(&self, slot: Slot, generation: u32, spec: &PeerSpec) -> Tunn {
        Tunn::new(
            self.secret.clone(),
            x25519::PublicKey::from(spec.public_key.0),
            spec.preshared_key.as_ref().map(|key| *key.expose()),
            // Persistent keepalives are sent by the engine, so that they can change.
            None,
            generation << SLOT_BITS | slot,
            Some(Arc::clone(&self.limiter)),
        )
    }
}

impl fmt::Debug for DeviceKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceKeys({:?})", WgPublicKey(self.public.to_bytes()))
    }
}

/// Sessions of one peer.
pub(super) struct Sessions {
    slot: Slot,
    generation: u32,
    present: Tunn,
    /// With its generation.
    former: Option<(u32, Tunn)>,
    /// The present ones would put a time from the past into an initiation.
    is_clock_wrong: bool,
}

impl Sessions {
    /// No session yet.
    pub(super) fn new(slot: Slot, spec: &PeerSpec, keys: &DeviceKeys) -> Self {
        Self {
            slot,
            generation: 0,
            present: keys.sessions(slot, 0, spec),
            former: None,
            is_clock_wrong: false,
        }
    }

    /// Makes the next handshake use the preshared key of `spec` and the present wall clock. The session
    /// that stands goes on until then.
    pub(super) fn renew(&mut self, spec: &PeerSpec, keys: &DeviceKeys) {
        let generation = (self.generation + 1) % GENERATIONS;
        let next = keys.sessions(self.slot, generation, spec);
        let present = mem::replace(&mut self.present, next);
        if is_live(&present) {
            self.former = Some((self.generation, present));
        }
        self.generation = generation;
        self.is_clock_wrong = false;
    }

    /// Notes that the wall clock was set: the next [`Self::initiate`] goes by the new time.
    pub(super) const fn clock_stepped(&mut self) {
        self.is_clock_wrong = true;
    }

    /// Which sessions these are; changes when they are made anew.
    #[cfg(test)]
    pub(super) const fn generation(&self) -> u32 {
        self.generation
    }

    /// True if data can be encrypted.
    pub(super) fn is_live(&self) -> bool {
        is_live(&self.present) || self.former().is_some()
    }

    /// True if data is encrypted under a former preshared key, for want of a handshake.
    pub(super) fn is_outdated(&self) -> bool {
        self.former().is_some() && !is_live(&self.present)
    }

    /// Encrypts a packet; an empty one is a keepalive. Without a session the packet is kept, and the
    /// result may be an initiation.
    pub(super) fn seal<'a>(&mut self, packet: &[u8], output: &'a mut [u8]) -> TunnResult<'a> {
        match &mut self.former {
            Some((_, former)) if !is_live(&self.present) && is_live(former) => {
                former.encapsulate(packet, output)
            }
            _ => self.present.encapsulate(packet, output),
        }
    }

    /// Decrypts a data message for receiver index `index`.
    pub(super) fn open<'a>(
        &mut self,
        index: u32,
        message: &[u8],
        output: &'a mut [u8],
    ) -> TunnResult<'a> {
        match &mut self.former {
            Some((generation, former)) if *generation == generation_of(index) => {
                former.decapsulate(None, message, output)
            }
            _ => self.present.decapsulate(None, message, output),
        }
    }

    /// Takes a handshake message or a cookie.
    pub(super) fn take_handshake<'a>(
        &mut self,
        source: IpAddr,
        message: &[u8],
        output: &'a mut [u8],
    ) -> TunnResult<'a> {
        self.present.decapsulate(Some(source), message, output)
    }

    /// A new initiation. `spec` and `keys` are those that the sessions were made of.
    pub(super) fn initiate<'a>(
        &mut self,
        spec: &PeerSpec,
        keys: &DeviceKeys,
        output: &'a mut [u8],
    ) -> Option<&'a mut [u8]> {
        if self.is_clock_wrong {
            self.renew(spec, keys);
        }
        written(self.present.format_handshake_initiation(output, true))
    }

    /// The next packet that was kept while there was no session, encrypted.
    pub(super) fn next_kept<'a>(&mut self, output: &'a mut [u8]) -> Option<&'a mut [u8]> {
        if !is_live(&self.present) {
            return None;
        }
        written(self.present.decapsulate(None, &[], output))
    }

    /// Lets time pass; what has to be sent, a keepalive or an initiation.
    pub(super) fn tick<'a>(&mut self, output: &'a mut [u8]) -> Option<&'a mut [u8]> {
        if let Some((_, former)) = &mut self.former {
            // Only its expiry counts: it must not start handshakes under its key any more.
            let _ = former.update_timers(output);
            if !is_live(former) {
                self.former = None;
            }
        }
        written(self.present.update_timers(output))
    }

    fn former(&self) -> Option<&Tunn> {
        let (_, former) = self.former.as_ref()?;
        is_live(former).then_some(former)
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("slot", &self.slot)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

fn is_live(sessions: &Tunn) -> bool {
    sessions.time_since_last_handshake().is_some()
}

fn written(result: TunnResult<'_>) -> Option<&mut [u8]> {
    match result {
        TunnResult::WriteToNetwork(message) => Some(message),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_of_low_order_contribute_nothing() {
        let secret = x25519::StaticSecret::from([9; 32]);
        for mut point in LOW_ORDER {
            for high_bit in [0, 0x80] {
                point[31] |= high_bit;
                let shared = secret.diffie_hellman(&x25519::PublicKey::from(point));
                assert!(!shared.was_contributory(), "{point:02x?}");
                assert!(is_low_order(&point));
            }
        }
        let honest = x25519::PublicKey::from(&secret);
        assert!(!is_low_order(honest.as_bytes()));
    }

    #[test]
    fn indices_tell_slots_and_generations_apart() {
        for (generation, slot) in [(0, 0), (0, 5), (3, MAX_PEERS as u32 - 1), (15, 77)] {
            let index = (generation << SLOT_BITS | slot) << SESSION_BITS | 0xff;
            assert_eq!(slot_of(index), slot);
            assert_eq!(generation_of(index), generation);
        }
        assert_eq!(GENERATIONS, 16);
    }
}
