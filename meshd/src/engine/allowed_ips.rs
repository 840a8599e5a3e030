//! Cryptokey routing: which peer owns an inner address, by longest prefix. Knows slots, not peers.
//!
//! Prefixes nest or lie apart, so they cut the address space into ranges with one owner each. The ranges
//! stand in a sorted array: a lookup is one binary search, whatever the lengths of the prefixes. The
//! array is made anew at the first lookup after a change; changes come rarely and many at once.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

/// Index of a peer in the peer table.
pub(super) type Slot = u32;

/// Longest-prefix match from inner addresses to peers.
#[derive(Debug, Default)]
pub(super) struct AllowedIps {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

impl AllowedIps {
    /// Routes `prefix` to `slot`, also if another peer had it.
    pub(super) fn insert(&mut self, prefix: IpNet, slot: Slot) {
        let bits = prefix.prefix_len();
        match (prefix.network(), prefix.broadcast()) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                self.v4.insert(first.to_bits(), bits, last.to_bits(), slot);
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                self.v6.insert(first.to_bits(), bits, last.to_bits(), slot);
            }
            _ => {}
        }
    }

    /// Forgets `prefix` if it is routed to `slot`.
    pub(super) fn remove(&mut self, prefix: IpNet, slot: Slot) {
        let bits = prefix.prefix_len();
        match prefix.network() {
            IpAddr::V4(first) => self.v4.remove(first.to_bits(), bits, slot),
            IpAddr::V6(first) => self.v6.remove(first.to_bits(), bits, slot),
        }
    }

    /// The peer that owns `address`.
    pub(super) fn lookup(&mut self, address: IpAddr) -> Option<Slot> {
        match address {
            IpAddr::V4(address) => self.v4.lookup(address.to_bits()),
            IpAddr::V6(address) => self.v6.lookup(address.to_bits()),
        }
    }
}

/// An address as a number.
trait Key: Copy + Ord {
    /// The address behind this one.
    fn next(self) -> Option<Self>;
}

impl Key for u32 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Key for u128 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

/// Last address and owner of a prefix.
#[derive(Debug, Clone, Copy)]
struct Owned<K> {
    last: K,
    slot: Slot,
}

/// The prefixes of one family, and the ranges they make.
#[derive(Debug, Default)]
struct Ranges<K> {
    /// By first address and length: a prefix comes before those inside it.
    prefixes: BTreeMap<(K, u8), Owned<K>>,
    /// Where each range starts; it goes on to the next one. Nobody owns what is before the first.
    starts: Vec<K>,
    /// Who owns each range.
    owners: Vec<Option<Slot>>,
    is_outdated: bool,
}

impl<K: Key> Ranges<K> {
    fn insert(&mut self, first: K, bits: u8, last: K, slot: Slot) {
        self.prefixes.insert((first, bits), Owned { last, slot });
        self.is_outdated = true;
    }

    fn remove(&mut self, first: K, bits: u8, slot: Slot) {
        let known = self.prefixes.get(&(first, bits));
        if known.is_some_and(|known| known.slot == slot) {
            self.prefixes.remove(&(first, bits));
            self.is_outdated = true;
        }
    }

    fn lookup(&mut self, key: K) -> Option<Slot> {
        if self.is_outdated {
            self.rebuild();
        }
        let behind = self.starts.partition_point(|start| *start <= key);
        self.owners[behind.checked_sub(1)?]
    }

    fn rebuild(&mut self) {
        self.starts.clear();
        self.owners.clear();
        self.is_outdated = false;
        let prefixes = std::mem::take(&mut self.prefixes);
        // The prefixes around the present place, the innermost last.
        let mut around: Vec<Owned<K>> = Vec::new();
        for ((first, _), owned) in &prefixes {
            self.leave(&mut around, Some(*first));
            self.start(*first, Some(owned.slot));
            around.push(*owned);
        }
        self.leave(&mut around, None);
        self.prefixes = prefixes;
    }

    /// Ends those of the prefixes `around` that end before `place`; all without one.
    fn leave(&mut self, around: &mut Vec<Owned<K>>, place: Option<K>) {
        while let Some(inner) = around.pop_if(|inner| place.is_none_or(|at| inner.last < at)) {
            if let Some(behind) = inner.last.next() {
                self.start(behind, around.last().map(|outer| outer.slot));
            }
        }
    }

    /// Starts a range at `place`, instead of one that starts there already.
    fn start(&mut self, place: K, owner: Option<Slot>) {
        if self.starts.last() == Some(&place) {
            self.starts.pop();
            self.owners.pop();
        }
        if self.owners.last().copied().flatten() != owner || self.owners.is_empty() {
            self.starts.push(place);
            self.owners.push(owner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::hint::black_box;
    use std::time::Instant;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn longest_prefix_wins_in_its_family() {
        let mut table = AllowedIps::default();
        for (prefix, slot) in [
            ("0.0.0.0/0", 1),
            ("10.0.0.0/8", 2),
            ("10.1.0.0/16", 3),
            ("10.1.2.3/32", 4),
            ("fd00::/8", 5),
            ("fd00::7/128", 6),
        ] {
            table.insert(net(prefix), slot);
        }
        for (address, slot) in [
            ("192.0.2.1", Some(1)),
            ("10.2.0.1", Some(2)),
            ("10.1.9.9", Some(3)),
            ("10.1.2.3", Some(4)),
            ("fd12::1", Some(5)),
            ("fd00::7", Some(6)),
            ("2001:db8::1", None),
            ("::", None),
        ] {
            assert_eq!(table.lookup(address.parse().unwrap()), slot, "{address}");
        }
    }

    #[test]
    fn a_prefix_that_moved_is_not_removed_by_its_former_owner() {
        let mut table = AllowedIps::default();
        table.insert(net("10.0.0.0/8"), 1);
        table.insert(net("10.0.0.0/8"), 2);
        table.remove(net("10.0.0.0/8"), 1);
        assert_eq!(table.lookup("10.0.0.1".parse().unwrap()), Some(2));
        table.remove(net("10.0.0.0/8"), 2);
        assert_eq!(table.lookup("10.0.0.1".parse().unwrap()), None);
        assert!(table.v4.prefixes.is_empty() && table.v4.starts.is_empty());
    }

    #[test]
    fn the_ends_of_the_address_space_are_addresses_too() {
        let mut table = AllowedIps::default();
        for (prefix, slot) in [
            ("255.255.255.255/32", 1),
            ("0.0.0.0/32", 2),
            ("::/0", 3),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128", 4),
        ] {
            table.insert(net(prefix), slot);
        }
        for (address, slot) in [
            ("255.255.255.255", Some(1)),
            ("255.255.255.254", None),
            ("0.0.0.0", Some(2)),
            ("0.0.0.1", None),
            ("::", Some(3)),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some(4)),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", Some(3)),
        ] {
            assert_eq!(table.lookup(address.parse().unwrap()), slot, "{address}");
        }
    }

    /// Prefixes of many lengths and addresses in and out of them, the same in every run.
    fn many(count: u32, v6: bool) -> (AllowedIps, Vec<IpAddr>) {
        let mut table = AllowedIps::default();
        let mut addresses = Vec::new();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for slot in 0..count {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            let mixed = u128::from(state) << 64 | u128::from(state.rotate_left(29));
            let prefix = match v6 {
                false => IpNet::new(
                    ((mixed >> 96) as u32).to_be_bytes().into(),
                    12 + slot as u8 % 21,
                ),
                true => IpNet::new(
                    (0xfd << 120 | mixed >> 8).to_be_bytes().into(),
                    32 + slot as u8 % 97,
                ),
            };
            let prefix = prefix.unwrap();
            table.insert(prefix, slot);
            addresses.push(prefix.addr());
        }
        (table, addresses)
    }

    /// Not a check: prints the figures of docs/benchmarks.md.
    #[test]
    #[ignore = "a measurement, for a release build on a machine that does nothing else"]
    fn lookup_speed() {
        for (count, v6) in [(10, false), (10_000, false), (10, true), (10_000, true)] {
            let (mut table, addresses) = many(count, v6);
            let start = Instant::now();
            black_box(table.lookup(addresses[0]));
            let rebuilt = start.elapsed();
            let rounds = 10_000_000 / addresses.len();
            let start = Instant::now();
            for _ in 0..rounds {
                for address in &addresses {
                    black_box(table.lookup(black_box(*address)));
                }
            }
            let each = start.elapsed().as_nanos() as f64 / (rounds * addresses.len()) as f64;
            println!("{count} prefixes, v6 {v6}: {each:.1} ns a lookup, rebuilt in {rebuilt:?}");
        }
    }

    fn any_net() -> impl Strategy<Value = IpNet> {
        // Few address bits, so that prefixes nest and collide.
        (any::<bool>(), any::<u8>(), any::<u8>(), 0_u8..=32).prop_map(|(v6, a, b, bits)| {
            let address: IpAddr = match v6 {
                false => [a & 3, b & 3, 0, b & 1].into(),
                true => IpAddr::V6((u128::from(a & 3) << 120 | u128::from(b & 7)).into()),
            };
            let bits = if v6 { bits * 4 } else { bits };
            IpNet::new(address, bits).unwrap().trunc()
        })
    }

    proptest! {
        #[test]
        fn agrees_with_a_linear_search(
            steps in proptest::collection::vec((any_net(), 0_u32..4, any::<bool>()), 0..40),
            probes in proptest::collection::vec(any_net(), 1..20),
        ) {
            let mut table = AllowedIps::default();
            let mut model: HashMap<IpNet, Slot> = HashMap::new();
            for (prefix, slot, insert) in steps {
                if insert {
                    table.insert(prefix, slot);
                    model.insert(prefix, slot);
                } else {
                    table.remove(prefix, slot);
                    if model.get(&prefix) == Some(&slot) {
                        model.remove(&prefix);
                    }
                }
            }
            for probe in probes {
                let address = probe.addr();
                let expected = model
                    .iter()
                    .filter(|(prefix, _)| prefix.contains(&address))
                    .max_by_key(|(prefix, _)| prefix.prefix_len())
                    .map(|(_, slot)| *slot);
                prop_assert_eq!(table.lookup(address), expected);
            }
        }
    }
}
