//! Cryptokey routing: which peer owns an inner address, by longest prefix. Knows slots, not peers.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

/// Index of a peer in the peer table.
pub(super) type Slot = u32;

/// Longest-prefix match from inner addresses to peers. One hash table for each prefix length in use:
/// meshes use few lengths, so a lookup is a few probes.
#[derive(Debug, Default)]
pub(super) struct AllowedIps {
    v4: Vec<Length>,
    v6: Vec<Length>,
}

/// All prefixes of one length; keys are left-aligned with host bits zero.
#[derive(Debug)]
struct Length {
    bits: u8,
    owners: HashMap<u128, Slot>,
}

impl AllowedIps {
    /// Routes `prefix` to `slot`, also if another peer had it.
    pub(super) fn insert(&mut self, prefix: IpNet, slot: Slot) {
        let bits = prefix.prefix_len();
        let lengths = self.lengths_mut(prefix.addr());
        let at = match lengths.binary_search_by(|length| bits.cmp(&length.bits)) {
            Ok(at) => at,
            Err(at) => {
                let owners = HashMap::new();
                lengths.insert(at, Length { bits, owners });
                at
            }
        };
        lengths[at].owners.insert(masked(prefix.addr(), bits), slot);
    }

    /// Forgets `prefix` if it is routed to `slot`.
    pub(super) fn remove(&mut self, prefix: IpNet, slot: Slot) {
        let bits = prefix.prefix_len();
        let key = masked(prefix.addr(), bits);
        let lengths = self.lengths_mut(prefix.addr());
        if let Ok(at) = lengths.binary_search_by(|length| bits.cmp(&length.bits)) {
            if lengths[at].owners.get(&key) == Some(&slot) {
                lengths[at].owners.remove(&key);
            }
            if lengths[at].owners.is_empty() {
                lengths.remove(at);
            }
        }
    }

    /// The peer that owns `address`.
    pub(super) fn lookup(&self, address: IpAddr) -> Option<Slot> {
        let lengths = match address {
            IpAddr::V4(_) => &self.v4,
            IpAddr::V6(_) => &self.v6,
        };
        lengths
            .iter()
            .find_map(|length| length.owners.get(&masked(address, length.bits)).copied())
    }

    const fn lengths_mut(&mut self, address: IpAddr) -> &mut Vec<Length> {
        match address {
            IpAddr::V4(_) => &mut self.v4,
            IpAddr::V6(_) => &mut self.v6,
        }
    }
}

/// The first `bits` bits of the address, left-aligned.
fn masked(address: IpAddr, bits: u8) -> u128 {
    let value = match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    };
    match bits {
        0 => 0,
        bits => value & (u128::MAX << (128 - u32::from(bits))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        assert!(table.v4.is_empty());
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
