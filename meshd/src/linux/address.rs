//! Interface addresses as netlink messages and back.

use std::net::IpAddr;

use ipnet::IpNet;
use meshd_core::links::LinkAddress;
use meshd_core::network::Family;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeader, AddressMessage, AddressScope,
};

use super::route::address_family;

/// The message that adds or removes an address of an interface. Without duplicate address detection,
/// which would make the address unusable for a second, and without a route in the main table.
pub(super) fn encode(address: IpNet, interface: u32) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header = AddressHeader {
        family: address_family(Family::of(address.addr())),
        prefix_len: address.prefix_len(),
        scope: AddressScope::Universe,
        index: interface,
        ..AddressHeader::default()
    };
    let quiet = match address {
        IpNet::V4(_) => AddressFlags::Noprefixroute,
        IpNet::V6(_) => AddressFlags::Noprefixroute | AddressFlags::Nodad,
    };
    message.attributes = vec![
        AddressAttribute::Local(address.addr()),
        AddressAttribute::Address(address.addr()),
        AddressAttribute::Flags(quiet),
    ];
    message
}

/// Reads an address of an interface.
pub(super) fn decode(message: &AddressMessage) -> Option<LinkAddress> {
    let mut local = None;
    let mut address = None;
    let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
    for attribute in &message.attributes {
        match attribute {
            // On a point-to-point link the other attribute is the far end.
            AddressAttribute::Local(value) => local = Some(*value),
            AddressAttribute::Address(value) => address = Some(*value),
            AddressAttribute::Flags(value) => flags = *value,
            _ => {}
        }
    }
    let address: IpAddr = local.or(address)?;
    let tentative =
        flags.contains(AddressFlags::Tentative) && !flags.contains(AddressFlags::Optimistic);
    Some(LinkAddress {
        address: IpNet::new(address, message.header.prefix_len).ok()?,
        global: matches!(
            message.header.scope,
            AddressScope::Universe | AddressScope::Site
        ),
        // The same bit means "not the first of its subnet" in IPv4.
        temporary: address.is_ipv6() && flags.contains(AddressFlags::Secondary),
        unusable: tentative || flags.intersects(AddressFlags::Deprecated | AddressFlags::Dadfailed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_per_family() {
        let cases = [
            ("10.0.0.1/24", AddressFlags::Secondary, false, false),
            ("fd00::1/64", AddressFlags::Secondary, true, false),
            ("fd00::1/64", AddressFlags::Tentative, false, true),
            (
                "fd00::1/64",
                AddressFlags::Tentative | AddressFlags::Optimistic,
                false,
                false,
            ),
            ("fd00::1/64", AddressFlags::Deprecated, false, true),
            ("fd00::1/64", AddressFlags::Dadfailed, false, true),
        ];
        for (address, flags, temporary, unusable) in cases {
            let mut message = encode(address.parse().unwrap(), 3);
            message.attributes.pop();
            message.attributes.push(AddressAttribute::Flags(flags));
            let expected = LinkAddress {
                address: address.parse().unwrap(),
                global: true,
                temporary,
                unusable,
            };
            assert_eq!(decode(&message), Some(expected), "{address} {flags:?}");
        }
    }

    #[test]
    fn the_near_end_of_a_point_to_point_link_counts() {
        let mut message = encode("10.0.0.1/32".parse().unwrap(), 3);
        message.header.scope = AddressScope::Link;
        message.attributes = vec![
            AddressAttribute::Address("10.0.0.2".parse().unwrap()),
            AddressAttribute::Local("10.0.0.1".parse().unwrap()),
        ];
        let read = decode(&message).unwrap();
        assert_eq!(read.address, "10.0.0.1/32".parse().unwrap());
        assert!(!read.global);
    }
}
