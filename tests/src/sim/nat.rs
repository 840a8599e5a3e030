//! NAT: address translation with the behaviours that RFC 4787 tells apart. Translates, filters and
//! forgets; where packets go is the network's matter.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::time::SimTime;

/// What a mapping or a filter depends on (RFC 4787 sections 4.1 and 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dependence {
    /// On nothing of the far end.
    Independent,
    /// On its address.
    Address,
    /// On its address and port.
    AddressAndPort,
}

impl Dependence {
    const fn part(self, far: SocketAddr) -> (Option<IpAddr>, Option<u16>) {
        match self {
            Self::Independent => (None, None),
            Self::Address => (Some(far.ip()), None),
            Self::AddressAndPort => (Some(far.ip()), Some(far.port())),
        }
    }
}

/// How a NAT behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NatKind {
    /// Which packets share an external port.
    pub mapping: Dependence,
    /// Which packets get in.
    pub filtering: Dependence,
    /// A mapping without outgoing packets ends after this time.
    pub lifetime: Duration,
    /// Packets from inside to the public address come back in.
    pub hairpin: bool,
}

impl NatKind {
    /// What most home routers do: Linux `MASQUERADE` with a port-preserving, endpoint-independent
    /// mapping and a filter on address and port; 30 s.
    pub const HOME: Self = Self {
        mapping: Dependence::Independent,
        filtering: Dependence::AddressAndPort,
        lifetime: Duration::from_secs(30),
        hairpin: false,
    };
    /// A "symmetric" NAT.
    pub const SYMMETRIC: Self = Self {
        mapping: Dependence::AddressAndPort,
        filtering: Dependence::AddressAndPort,
        lifetime: Duration::from_secs(60),
        hairpin: false,
    };
    /// A full-cone NAT.
    pub const OPEN: Self = Self {
        mapping: Dependence::Independent,
        filtering: Dependence::Independent,
        lifetime: Duration::from_secs(120),
        hairpin: true,
    };
    /// Filters by address only.
    pub const RESTRICTED: Self = Self {
        mapping: Dependence::Independent,
        filtering: Dependence::Address,
        lifetime: Duration::from_secs(60),
        hairpin: false,
    };
}

type Part = (Option<IpAddr>, Option<u16>);

#[derive(Debug)]
struct Entry {
    inner: SocketAddr,
    part: Part,
    /// Last outgoing packet.
    used: SimTime,
    /// Far ends that were sent to, as the filter tells them apart.
    open: BTreeMap<Part, SimTime>,
}

/// One NAT.
#[derive(Debug)]
pub(super) struct Nat {
    pub(super) public: IpAddr,
    pub(super) kind: NatKind,
    next_port: u16,
    ports: BTreeMap<(SocketAddr, Part), u16>,
    entries: BTreeMap<u16, Entry>,
}

impl Nat {
    pub(super) const fn new(public: IpAddr, kind: NatKind) -> Self {
        Self {
            public,
            kind,
            next_port: 20_000,
            ports: BTreeMap::new(),
            entries: BTreeMap::new(),
        }
    }

    /// The source a packet from `inner` to `far` has outside.
    pub(super) fn outbound(
        &mut self,
        inner: SocketAddr,
        far: SocketAddr,
        now: SimTime,
    ) -> SocketAddr {
        let part = self.kind.mapping.part(far);
        let known = self.ports.get(&(inner, part)).copied();
        let live = known.filter(|port| self.is_live(*port, now));
        let port = live.unwrap_or_else(|| self.map(inner, part, now));
        let filter = self.kind.filtering.part(far);
        if let Some(entry) = self.entries.get_mut(&port) {
            entry.used = now;
            entry.open.insert(filter, now);
        }
        SocketAddr::new(self.public, port)
    }

    /// Who inside gets a packet from `far` to the public port; none if it is filtered.
    pub(super) fn inbound(&self, port: u16, far: SocketAddr, now: SimTime) -> Option<SocketAddr> {
        if !self.is_live(port, now) {
            return None;
        }
        let entry = self.entries.get(&port)?;
        let opened = *entry.open.get(&self.kind.filtering.part(far))?;
        (now.saturating_sub(opened) < self.kind.lifetime
            || self.kind.filtering == Dependence::Independent)
            .then_some(entry.inner)
    }

    /// Forgets every mapping, as a rebooted router does; new ones get other ports.
    pub(super) fn rebind(&mut self) {
        self.ports.clear();
        self.entries.clear();
        self.next_port = self.next_port.wrapping_add(1000).max(20_000);
    }

    fn is_live(&self, port: u16, now: SimTime) -> bool {
        let entry = self.entries.get(&port);
        entry.is_some_and(|entry| now.saturating_sub(entry.used) < self.kind.lifetime)
    }

    fn map(&mut self, inner: SocketAddr, part: Part, now: SimTime) -> u16 {
        if let Some(old) = self.ports.remove(&(inner, part)) {
            self.entries.remove(&old);
        }
        let port = self.next_port;
        self.next_port = self.next_port.checked_add(1).unwrap_or(20_000);
        if let Some(old) = self.entries.remove(&port) {
            self.ports.remove(&(old.inner, old.part));
        }
        self.ports.insert((inner, part), port);
        let entry = Entry {
            inner,
            part,
            used: now,
            open: BTreeMap::new(),
        };
        self.entries.insert(port, entry);
        port
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INNER: ([u8; 4], u16) = ([10, 0, 0, 1], 51840);

    fn far(last: u8, port: u16) -> SocketAddr {
        ([198, 51, 100, last], port).into()
    }

    fn nat(kind: NatKind) -> Nat {
        Nat::new([203, 0, 113, 1].into(), kind)
    }

    #[test]
    fn mapping_and_filtering_as_in_rfc_4787() {
        let now = Duration::from_secs(1);
        // Kind, same port towards another port and address, who may answer: asked, its other port,
        // another address.
        let table = [
            (NatKind::HOME, true, [true, false, false]),
            (NatKind::RESTRICTED, true, [true, true, false]),
            (NatKind::OPEN, true, [true, true, true]),
            (NatKind::SYMMETRIC, false, [true, false, false]),
        ];
        for (kind, same, answers) in table {
            let mut nat = nat(kind);
            let outer = nat.outbound(INNER.into(), far(1, 1), now);
            let who = [far(1, 1), far(1, 2), far(2, 1)];
            for (from, expected) in who.into_iter().zip(answers) {
                let got = nat.inbound(outer.port(), from, now);
                assert_eq!(got.is_some(), expected, "{kind:?} {from}");
            }
            assert_eq!(nat.outbound(INNER.into(), far(2, 1), now) == outer, same);
        }
    }

    #[test]
    fn mappings_end_and_rebind() {
        let mut nat = nat(NatKind::HOME);
        let first = nat.outbound(INNER.into(), far(1, 1), Duration::ZERO);
        let late = Duration::from_secs(31);
        assert!(
            nat.inbound(first.port(), far(1, 1), Duration::from_secs(29))
                .is_some()
        );
        assert!(nat.inbound(first.port(), far(1, 1), late).is_none());
        let second = nat.outbound(INNER.into(), far(1, 1), late);
        assert_ne!(first, second, "an expired mapping gets another port");
        nat.rebind();
        assert!(nat.inbound(second.port(), far(1, 1), late).is_none());
    }
}
