//! All peers of the engine, found by receiver index, by key and by inner address.

use std::collections::BTreeMap;
use std::net::IpAddr;

use mesh_proto::WgPublicKey;
use meshd_core::data_plane::PeerSpec;

use super::allowed_ips::{AllowedIps, Slot};
use super::peer::Peer;
use super::sessions::{DeviceKeys, MAX_PEERS};

/// The peers.
#[derive(Debug, Default)]
pub(super) struct PeerTable {
    slots: Vec<Option<Box<Peer>>>,
    free: Vec<Slot>,
    by_key: BTreeMap<WgPublicKey, Slot>,
    allowed_ips: AllowedIps,
}

impl PeerTable {
    /// Adds or changes a peer; its slot. None if the table is full.
    pub(super) fn set(&mut self, spec: PeerSpec, keys: &DeviceKeys) -> Option<Slot> {
        let slot = match self.by_key.get(&spec.public_key) {
            Some(slot) => *slot,
            None => self.free_slot()?,
        };
        let prefixes = spec.allowed_ips.clone();
        let key = spec.public_key;
        let place = &mut self.slots[slot as usize];
        let mut former = Vec::new();
        match place {
            Some(peer) => {
                former.clone_from(&peer.spec.allowed_ips);
                peer.update(spec, keys);
            }
            None => *place = Some(Box::new(Peer::new(slot, spec, keys))),
        }
        self.by_key.insert(key, slot);
        for prefix in former.iter().filter(|prefix| !prefixes.contains(prefix)) {
            self.allowed_ips.remove(*prefix, slot);
        }
        for prefix in prefixes {
            self.allowed_ips.insert(prefix, slot);
        }
        Some(slot)
    }

    /// Finds a peer by another key from now on, which is no other peer's; its slot. What else comes of that
    /// [`Self::set`] does, which has to follow.
    pub(super) fn rename(&mut self, former: &WgPublicKey, key: WgPublicKey) -> Option<Slot> {
        if self.by_key.contains_key(&key) {
            return self.remove(former);
        }
        let slot = self.by_key.remove(former)?;
        self.by_key.insert(key, slot);
        Some(slot)
    }

    /// Forgets a peer; the slot it had.
    pub(super) fn remove(&mut self, key: &WgPublicKey) -> Option<Slot> {
        let slot = self.by_key.remove(key)?;
        let peer = self.slots[slot as usize].take()?;
        for prefix in &peer.spec.allowed_ips {
            self.allowed_ips.remove(*prefix, slot);
        }
        self.free.push(slot);
        Some(slot)
    }

    /// The peer in a slot.
    pub(super) fn get(&mut self, slot: Slot) -> Option<&mut Peer> {
        self.slots.get_mut(slot as usize)?.as_deref_mut()
    }

    /// The slot of a key.
    pub(super) fn slot_of(&self, key: &WgPublicKey) -> Option<Slot> {
        self.by_key.get(key).copied()
    }

    /// The peer of a key.
    pub(super) fn by_key(&mut self, key: &WgPublicKey) -> Option<&mut Peer> {
        self.get(self.slot_of(key)?)
    }

    /// Who owns an inner address.
    pub(super) fn owner(&mut self, address: IpAddr) -> Option<Slot> {
        self.allowed_ips.lookup(address)
    }

    /// All peers, in no order that means anything.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Peer> {
        self.slots.iter_mut().filter_map(Option::as_deref_mut)
    }

    /// All peers, sorted by key.
    pub(super) fn sorted(&self) -> impl Iterator<Item = &Peer> {
        self.by_key
            .values()
            .filter_map(|slot| self.slots[*slot as usize].as_deref())
    }

    fn free_slot(&mut self) -> Option<Slot> {
        if let Some(slot) = self.free.pop() {
            return Some(slot);
        }
        if self.slots.len() >= MAX_PEERS {
            return None;
        }
        self.slots.push(None);
        Slot::try_from(self.slots.len() - 1).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_proto::{PresharedKey, WgPrivateKey};
    use meshd_core::data_plane::PathId;

    fn spec(number: u8, prefixes: &[&str]) -> PeerSpec {
        PeerSpec {
            public_key: WgPrivateKey::from_bytes([number; 32]).public_key(),
            preshared_key: None,
            allowed_ips: prefixes.iter().map(|text| text.parse().unwrap()).collect(),
            mesh_address: None,
            keepalive: None,
            endpoint_filter: None,
        }
    }

    #[test]
    fn prefixes_follow_their_peers() {
        let keys = DeviceKeys::new(&WgPrivateKey::from_bytes([9; 32]), 2);
        let mut table = PeerTable::default();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let one = table
            .set(spec(1, &["10.1.0.0/16", "fd00::1/128"]), &keys)
            .unwrap();
        let two = table.set(spec(2, &["10.2.0.0/16"]), &keys).unwrap();
        assert_ne!(one, two);
        assert_eq!(table.owner(address("10.1.2.3")), Some(one));
        assert_eq!(table.set(spec(1, &["10.3.0.0/16"]), &keys), Some(one));
        assert_eq!(table.owner(address("10.1.2.3")), None);
        assert_eq!(table.owner(address("10.3.2.3")), Some(one));
        // A prefix moves in two commands, the taker's first.
        table.set(spec(2, &["10.2.0.0/16", "10.3.0.0/16"]), &keys);
        table.set(spec(1, &[]), &keys);
        assert_eq!(table.owner(address("10.3.2.3")), Some(two));
        assert_eq!(table.remove(&spec(2, &[]).public_key), Some(two));
        assert_eq!(table.owner(address("10.3.2.3")), None);
        assert_eq!(
            table.set(spec(3, &[]), &keys),
            Some(two),
            "slots are used again"
        );
    }

    #[test]
    fn a_peer_with_another_key_keeps_its_place() {
        let keys = DeviceKeys::new(&WgPrivateKey::from_bytes([9; 32]), 2);
        let mut table = PeerTable::default();
        let slot = table.set(spec(1, &["10.0.0.0/8"]), &keys).unwrap();
        let (former, next) = (spec(1, &[]).public_key, spec(2, &["10.0.0.0/8"]));
        let before = table.get(slot).unwrap().sessions.generation();
        assert_eq!(table.rename(&former, next.public_key), Some(slot));
        assert_eq!(table.set(next.clone(), &keys), Some(slot));
        assert_ne!(table.get(slot).unwrap().sessions.generation(), before);
        assert_eq!(table.slot_of(&former), None);
        assert_eq!(table.owner([10, 1, 1, 1].into()), Some(slot));
        // A key that another peer has is not taken: one of the two goes.
        let other = table.set(spec(3, &[]), &keys).unwrap();
        assert_eq!(
            table.rename(&spec(3, &[]).public_key, next.public_key),
            Some(other)
        );
        assert_eq!(table.sorted().count(), 1);
    }

    #[test]
    fn setting_a_peer_again_keeps_its_path_and_a_new_key_keeps_its_place() {
        let keys = DeviceKeys::new(&WgPrivateKey::from_bytes([9; 32]), 2);
        let mut table = PeerTable::default();
        let slot = table.set(spec(1, &[]), &keys).unwrap();
        let path = PathId::to(([192, 0, 2, 1], 1).into());
        table.get(slot).unwrap().path = Some(path);
        let mut changed = spec(1, &["10.0.0.0/8"]);
        changed.preshared_key = Some(PresharedKey::from_bytes([1; 32]));
        assert_eq!(table.set(changed, &keys), Some(slot));
        assert_eq!(table.get(slot).unwrap().path, Some(path));
        assert_eq!(table.sorted().count(), 1);
    }
}
