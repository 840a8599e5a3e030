//! Our policy rules as netlink messages and back, exact in both directions.

use std::net::IpAddr;

use meshd_core::network::{Family, IpProtocol, Rule, RuleSelector};
use netlink_packet_route::rule::{
    RuleAction, RuleAttribute, RuleFlags, RuleHeader, RuleMessage, RulePortRange,
};
use netlink_packet_route::{AddressFamily, IpProtocol as NetlinkIpProtocol};

use super::route::address_family;

/// How the kernel shows that nothing is suppressed.
const NO_SUPPRESSION: u32 = u32::MAX;

/// The message that adds or removes a rule.
pub(super) fn encode(rule: &Rule, protocol: u8) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header = RuleHeader {
        family: address_family(rule.family),
        table: u8::try_from(rule.table).unwrap_or(0),
        action: RuleAction::ToTable,
        ..RuleHeader::default()
    };
    message.attributes = vec![
        RuleAttribute::Priority(rule.priority),
        RuleAttribute::Table(rule.table),
        RuleAttribute::Protocol(protocol.into()),
    ];
    match rule.selector {
        RuleSelector::SourcePort { protocol, port } => message.attributes.extend([
            RuleAttribute::IpProtocol(ip_protocol(protocol)),
            RuleAttribute::SourcePortRange(single(port)),
        ]),
        RuleSelector::Destination {
            address,
            protocol,
            port,
        } => {
            message.header.dst_len = host_prefix_len(address);
            message.attributes.extend([
                RuleAttribute::Destination(address),
                RuleAttribute::IpProtocol(ip_protocol(protocol)),
                RuleAttribute::DestinationPortRange(single(port)),
            ]);
        }
        RuleSelector::NotMark { mark, mask } => {
            message.header.flags = RuleFlags::Invert;
            message
                .attributes
                .extend([RuleAttribute::FwMark(mark), RuleAttribute::FwMask(mask)]);
        }
    }
    message
}

/// The message that removes what `shown` (as listed) describes.
pub(super) fn encode_removal(shown: &RuleMessage) -> RuleMessage {
    let mut message = shown.clone();
    message.header.flags = shown.header.flags & RuleFlags::Invert;
    message
        .attributes
        .retain(|attribute| !is_noise(attribute) && !matches!(attribute, RuleAttribute::Other(_)));
    message
}

/// Reads a rule of ours; none if it has a form that we never write.
pub(super) fn decode(message: &RuleMessage) -> Option<Rule> {
    let header = &message.header;
    let family = match header.family {
        AddressFamily::Inet => Family::V4,
        AddressFamily::Inet6 => Family::V6,
        _ => return None,
    };
    if header.action != RuleAction::ToTable || header.src_len != 0 || header.tos != 0 {
        return None;
    }
    let fields = Fields::of(message)?;
    let inverted = header.flags.contains(RuleFlags::Invert);
    let selector = match fields {
        Fields {
            destination: None,
            protocol: Some(protocol),
            source_port: Some(port),
            destination_port: None,
            mark: None,
            mask: None,
        } if !inverted => RuleSelector::SourcePort { protocol, port },
        Fields {
            destination: Some(address),
            protocol: Some(protocol),
            source_port: None,
            destination_port: Some(port),
            mark: None,
            mask: None,
        } if !inverted && header.dst_len == host_prefix_len(address) => RuleSelector::Destination {
            address,
            protocol,
            port,
        },
        Fields {
            destination: None,
            protocol: None,
            source_port: None,
            destination_port: None,
            mark,
            mask: Some(mask),
        } if inverted => RuleSelector::NotMark {
            mark: mark.unwrap_or(0),
            mask,
        },
        _ => return None,
    };
    Some(Rule {
        family,
        priority: priority(message),
        selector,
        table: table(message),
    })
}

/// Priority of a rule.
pub(super) fn priority(message: &RuleMessage) -> u32 {
    message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RuleAttribute::Priority(priority) => Some(*priority),
            _ => None,
        })
        .unwrap_or(0)
}

/// Table that a rule looks up.
pub(super) fn table(message: &RuleMessage) -> u32 {
    message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RuleAttribute::Table(table) => Some(*table),
            _ => None,
        })
        .unwrap_or_else(|| message.header.table.into())
}

/// Protocol number of whoever made a rule.
pub(super) fn protocol(message: &RuleMessage) -> u8 {
    message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RuleAttribute::Protocol(protocol) => Some(u8::from(*protocol)),
            _ => None,
        })
        .unwrap_or(0)
}

/// The selecting attributes of a rule.
#[derive(Default)]
struct Fields {
    destination: Option<IpAddr>,
    protocol: Option<IpProtocol>,
    source_port: Option<u16>,
    destination_port: Option<u16>,
    mark: Option<u32>,
    mask: Option<u32>,
}

impl Fields {
    fn of(message: &RuleMessage) -> Option<Self> {
        let mut fields = Self::default();
        for attribute in &message.attributes {
            match attribute {
                RuleAttribute::Destination(address) => fields.destination = Some(*address),
                RuleAttribute::IpProtocol(protocol) => {
                    fields.protocol = Some(match protocol {
                        NetlinkIpProtocol::Tcp => IpProtocol::Tcp,
                        NetlinkIpProtocol::Udp => IpProtocol::Udp,
                        _ => return None,
                    });
                }
                RuleAttribute::SourcePortRange(range) => {
                    fields.source_port = Some(single_port(*range)?);
                }
                RuleAttribute::DestinationPortRange(range) => {
                    fields.destination_port = Some(single_port(*range)?);
                }
                RuleAttribute::FwMark(mark) => fields.mark = Some(*mark),
                RuleAttribute::FwMask(mask) => fields.mask = Some(*mask),
                RuleAttribute::Priority(_)
                | RuleAttribute::Table(_)
                | RuleAttribute::Protocol(_)
                | RuleAttribute::Other(_) => {}
                other if is_noise(other) => {}
                _ => return None,
            }
        }
        Some(fields)
    }
}

/// Attributes that the kernel shows on rules that nobody gave them to.
fn is_noise(attribute: &RuleAttribute) -> bool {
    match attribute {
        RuleAttribute::SuppressPrefixLen(value) | RuleAttribute::SuppressIfGroup(value) => {
            *value == NO_SUPPRESSION
        }
        RuleAttribute::L3MDev(value) => !value,
        _ => false,
    }
}

const fn host_prefix_len(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

const fn ip_protocol(protocol: IpProtocol) -> NetlinkIpProtocol {
    match protocol {
        IpProtocol::Tcp => NetlinkIpProtocol::Tcp,
        IpProtocol::Udp => NetlinkIpProtocol::Udp,
    }
}

const fn single(port: u16) -> RulePortRange {
    RulePortRange {
        start: port,
        end: port,
    }
}

fn single_port(range: RulePortRange) -> Option<u16> {
    (range.start == range.end).then_some(range.start)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROTOCOL: u8 = 84;

    fn arbitrary_rule() -> impl Strategy<Value = Rule> {
        (
            any::<IpAddr>(),
            any::<bool>(),
            any::<u16>(),
            (any::<u32>(), 1..=u32::MAX),
            0..3_u8,
            (any::<u32>(), 1..=u32::MAX),
        )
            .prop_map(
                |(address, tcp, port, (mark, mask), kind, (priority, table))| {
                    let protocol = if tcp {
                        IpProtocol::Tcp
                    } else {
                        IpProtocol::Udp
                    };
                    Rule {
                        family: Family::of(address),
                        priority,
                        selector: match kind {
                            0 => RuleSelector::SourcePort { protocol, port },
                            1 => RuleSelector::Destination {
                                address,
                                protocol,
                                port,
                            },
                            _ => RuleSelector::NotMark { mark, mask },
                        },
                        table,
                    }
                },
            )
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(rule in arbitrary_rule()) {
            let message = encode(&rule, PROTOCOL);
            prop_assert_eq!(decode(&message), Some(rule));
            prop_assert_eq!(protocol(&message), PROTOCOL);
        }
    }

    #[test]
    fn kernel_noise_is_ignored_and_unknown_selectors_are_not() {
        let rule = Rule {
            family: Family::V4,
            priority: 503,
            selector: RuleSelector::NotMark {
                mark: 0x1000,
                mask: 0x1000,
            },
            table: 5184,
        };
        let mut message = encode(&rule, PROTOCOL);
        message
            .attributes
            .push(RuleAttribute::SuppressPrefixLen(NO_SUPPRESSION));
        assert_eq!(decode(&message), Some(rule));
        let mut suppressing = message.clone();
        suppressing
            .attributes
            .push(RuleAttribute::SuppressPrefixLen(0));
        assert_eq!(decode(&suppressing), None);
        let mut from_interface = message.clone();
        from_interface
            .attributes
            .push(RuleAttribute::Iifname("eth0".to_owned()));
        assert_eq!(decode(&from_interface), None);
        message.header.flags = RuleFlags::empty();
        assert_eq!(decode(&message), None, "mark without the inversion");
    }
}
