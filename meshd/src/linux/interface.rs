//! The tunnel interface: its state, and the messages that prepare it. Addresses and routes are
//! elsewhere; it is created by the WireGuard backends.

use std::io;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoKind, LinkAttribute, LinkFlags, LinkInfo,
    LinkMessage,
};

use super::connection::Connection;

/// Packets that may wait in the interface; the kernel's default for TUN is 500.
const QUEUE_LEN: u32 = 1000;

/// State of the tunnel interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) index: u32,
    /// In bytes.
    pub(super) mtu: u32,
    kind: Option<String>,
    up: bool,
    queue_len: Option<u32>,
    address_generation: Option<In6AddrGenMode>,
}

impl Interface {
    /// Looks an interface up by name.
    pub(super) async fn find(connection: &Connection, name: &str) -> io::Result<Option<Self>> {
        let mut query = LinkMessage::default();
        query.attributes = vec![LinkAttribute::IfName(name.to_owned())];
        match connection.get(RouteNetlinkMessage::GetLink(query)).await {
            Ok(Some(RouteNetlinkMessage::NewLink(link))) => Ok(Some(Self::decode(&link))),
            Ok(_) => Ok(None),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// False for a device that we cannot have made: a mistyped interface name in the configuration
    /// must not take down somebody's network card.
    pub(super) fn is_tunnel(&self) -> bool {
        matches!(self.kind.as_deref(), Some("tun" | "wireguard"))
    }

    /// What is missing for the interface to carry packets, in order, with a name for each step.
    /// Link-local addresses are switched off before the interface comes up and would make one.
    pub(super) fn preparation(&self) -> Vec<(&'static str, RouteNetlinkMessage)> {
        let mut steps = Vec::new();
        if self
            .address_generation
            .is_some_and(|mode| mode != In6AddrGenMode::None)
        {
            let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
            let attribute = LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])]);
            steps.push(("switch off link-local addresses", self.set(attribute)));
        }
        if self.queue_len != Some(QUEUE_LEN) {
            let attribute = LinkAttribute::TxQueueLen(QUEUE_LEN);
            steps.push(("set the queue length", self.set(attribute)));
        }
        if !self.up {
            let mut message = self.message();
            message.header.flags = LinkFlags::Up;
            message.header.change_mask = LinkFlags::Up;
            steps.push(("set it up", RouteNetlinkMessage::SetLink(message)));
        }
        steps
    }

    /// The message that sets the MTU.
    pub(super) fn set_mtu(&self, mtu: u32) -> RouteNetlinkMessage {
        self.set(LinkAttribute::Mtu(mtu))
    }

    /// The message that deletes the interface.
    pub(super) fn removal(&self) -> RouteNetlinkMessage {
        RouteNetlinkMessage::DelLink(self.message())
    }

    fn decode(message: &LinkMessage) -> Self {
        let mut interface = Self {
            index: message.header.index,
            mtu: 0,
            kind: kind(message),
            up: message.header.flags.contains(LinkFlags::Up),
            queue_len: None,
            address_generation: None,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::Mtu(mtu) => interface.mtu = *mtu,
                LinkAttribute::TxQueueLen(len) => interface.queue_len = Some(*len),
                LinkAttribute::AfSpecUnspec(families) => {
                    interface.address_generation = address_generation(families);
                }
                _ => {}
            }
        }
        interface
    }

    fn message(&self) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = self.index;
        message
    }

    fn set(&self, attribute: LinkAttribute) -> RouteNetlinkMessage {
        let mut message = self.message();
        message.attributes = vec![attribute];
        RouteNetlinkMessage::SetLink(message)
    }
}

/// `IFLA_INFO_KIND` of a link; physical devices have none.
pub(super) fn kind(message: &LinkMessage) -> Option<String> {
    message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::LinkInfo(infos) => infos.iter().find_map(|info| match info {
                LinkInfo::Kind(InfoKind::Other(name)) => Some(name.clone()),
                LinkInfo::Kind(kind) => Some(kind.to_string()),
                _ => None,
            }),
            _ => None,
        })
}

/// None if the interface has no IPv6.
fn address_generation(families: &[AfSpecUnspec]) -> Option<In6AddrGenMode> {
    families.iter().find_map(|family| match family {
        AfSpecUnspec::Inet6(settings) => settings.iter().find_map(|setting| match setting {
            AfSpecInet6::AddrGenMode(mode) => Some(*mode),
            _ => None,
        }),
        _ => None,
    })
}
