//! Which offloads the engine uses: what the kernel and the network cards do in pieces larger than a
//! packet. Everything works without them, several times slower.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::linux::tun::TunOffloads;

/// Offloads, wanted or in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offloads {
    /// The tunnel interface hands over and takes large TCP packets.
    pub tun_tcp: bool,
    /// And UDP packets of one flow together.
    pub tun_udp: bool,
    /// Outer datagrams of one peer leave in one message that is cut further down.
    pub udp_send: bool,
    /// Outer datagrams of one sender arrive joined.
    pub udp_receive: bool,
}

impl Offloads {
    /// All that there are.
    pub const ALL: Self = Self {
        tun_tcp: true,
        tun_udp: true,
        udp_send: true,
        udp_receive: true,
    };

    /// None: every packet by itself.
    pub const NONE: Self = Self {
        tun_tcp: false,
        tun_udp: false,
        udp_send: false,
        udp_receive: false,
    };

    /// Those of the tunnel interface.
    pub(super) const fn tun(self) -> TunOffloads {
        TunOffloads {
            tcp: self.tun_tcp,
            udp: self.tun_udp,
        }
    }

    /// Those of these that are not among `others`.
    #[must_use]
    pub const fn without(self, others: Self) -> Self {
        Self {
            tun_tcp: self.tun_tcp && !others.tun_tcp,
            tun_udp: self.tun_udp && !others.tun_udp,
            udp_send: self.udp_send && !others.udp_send,
            udp_receive: self.udp_receive && !others.udp_receive,
        }
    }

    fn named(self) -> [(&'static str, bool); 4] {
        [
            ("tun-tcp", self.tun_tcp),
            ("tun-udp", self.tun_udp),
            ("udp-gso", self.udp_send),
            ("udp-gro", self.udp_receive),
        ]
    }

    /// Names of those in use.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        let used = self.named().into_iter().filter(|(_, is_used)| *is_used);
        used.map(|(name, _)| name).collect()
    }
}

impl fmt::Display for Offloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.names();
        if names.is_empty() {
            return f.write_str("none");
        }
        f.write_str(&names.join(" "))
    }
}

/// What is in use now, to be read by anybody.
#[derive(Debug, Default)]
pub(super) struct OffloadsInUse(AtomicU8);

impl OffloadsInUse {
    /// Notes what is in use.
    pub(super) fn set(&self, offloads: Offloads) {
        let bits = offloads.named().into_iter().rev();
        let bits = bits.fold(0, |bits, (_, is_used)| bits << 1 | u8::from(is_used));
        self.0.store(bits, Ordering::Relaxed);
    }

    /// What is in use.
    pub(super) fn get(&self) -> Offloads {
        let bits = self.0.load(Ordering::Relaxed);
        let has = |bit: u8| bits & 1 << bit != 0;
        Offloads {
            tun_tcp: has(0),
            tun_udp: has(1),
            udp_send: has(2),
            udp_receive: has(3),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_read_and_named() {
        let some = Offloads {
            tun_tcp: true,
            udp_receive: true,
            ..Offloads::NONE
        };
        let shared = OffloadsInUse::default();
        for offloads in [Offloads::NONE, some, Offloads::ALL] {
            shared.set(offloads);
            assert_eq!(shared.get(), offloads);
        }
        assert_eq!(some.to_string(), "tun-tcp udp-gro");
        assert_eq!(Offloads::NONE.to_string(), "none");
        assert_eq!(Offloads::ALL.names().len(), 4);
        let others = Offloads::ALL.without(some);
        assert_eq!(others.to_string(), "tun-udp udp-gso");
        assert_eq!(some.without(Offloads::ALL), Offloads::NONE);
    }
}
