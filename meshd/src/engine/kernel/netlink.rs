//! Blocking netlink for one thread: requests to WireGuard in the kernel, and the interface they are about.
//! Knows nothing of what is desired.

use std::io;
use std::sync::Arc;

use defguard_wireguard_rs::{Kernel, WGApi, WireguardInterfaceApi as _};
use netlink_packet_generic::ctrl::nlas::GenlCtrlAttrs;
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd};
use netlink_packet_generic::{GenlFamily, GenlHeader, GenlMessage};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_wireguard::{WireguardAttribute, WireguardCmd, WireguardMessage, WireguardPeer};
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_REQUEST, NetlinkDeserializable, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use rtnetlink::sys::protocols::{NETLINK_GENERIC, NETLINK_ROUTE};
use rtnetlink::sys::{Socket, SocketAddr};

use super::super::counters::{EngineCounters, count};
use super::reading::Reading;

/// Room for answers: a listing of a thousand peers comes in pieces, and none may get lost.
const RECEIVE_BYTES: usize = 1024 * 1024;

/// The connection.
pub(super) struct WgNetlink {
    generic: Socket,
    route: Socket,
    family: u16,
    interface: String,
    interface_api: WGApi<Kernel>,
    sequence: u32,
    counters: Arc<EngineCounters>,
}

impl std::fmt::Debug for WgNetlink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WgNetlink")
            .field("interface", &self.interface)
            .finish_non_exhaustive()
    }
}

impl WgNetlink {
    /// Opens it; fails with `ENOENT` if the kernel has no WireGuard. Asking loads the module.
    pub(super) fn open(interface: &str, counters: Arc<EngineCounters>) -> io::Result<Self> {
        let mut netlink = Self {
            generic: connected(NETLINK_GENERIC)?,
            route: connected(NETLINK_ROUTE)?,
            family: 0,
            interface: interface.to_owned(),
            interface_api: WGApi::new(interface).map_err(io::Error::other)?,
            sequence: 0,
            counters,
        };
        netlink.family = netlink.resolve()?;
        Ok(netlink)
    }

    fn resolve(&mut self) -> io::Result<u16> {
        let mut message = GenlMessage::from_payload(GenlCtrl {
            cmd: GenlCtrlCmd::GetFamily,
            nlas: vec![GenlCtrlAttrs::FamilyName("wireguard".to_owned())],
        });
        message.finalize();
        let sequence = self.next_sequence();
        let answers = request(&self.generic, message, NLM_F_REQUEST | NLM_F_ACK, sequence)?;
        let ids = answers.into_iter().flat_map(|answer| answer.payload.nlas);
        ids.into_iter()
            .find_map(|nla| match nla {
                GenlCtrlAttrs::FamilyId(id) => Some(id),
                _ => None,
            })
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
    }

    /// Makes the interface, or leaves the one there is, and sets it up.
    pub(super) fn create(&mut self) -> io::Result<()> {
        count(&self.counters.netlink_link);
        self.interface_api
            .create_interface()
            .map_err(io::Error::other)
    }

    /// Deletes the interface. Not by the crate: that one runs programs that undo a DNS configuration, and
    /// deletes rules that are not ours.
    pub(super) fn remove(&mut self) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.attributes = vec![LinkAttribute::IfName(self.interface.clone())];
        count(&self.counters.netlink_link);
        let sequence = self.next_sequence();
        let message = RouteNetlinkMessage::DelLink(link);
        request(&self.route, message, NLM_F_REQUEST | NLM_F_ACK, sequence).map(|_| ())
    }

    /// Sets device attributes.
    pub(super) fn set_device(&mut self, attributes: Vec<WireguardAttribute>) -> io::Result<()> {
        count(&self.counters.netlink_device);
        self.set(attributes)
    }

    /// Carries out changes of peers, in order, in one message.
    pub(super) fn set_peers(&mut self, peers: Vec<WireguardPeer>) -> io::Result<()> {
        count(&self.counters.netlink_peers);
        self.set(vec![WireguardAttribute::Peers(peers)])
    }

    /// Reads the device and all peers. `ENODEV` if there is none.
    pub(super) fn read(&mut self) -> io::Result<Reading> {
        count(&self.counters.netlink_read);
        match self.interface_api.read_interface_data() {
            Ok(host) => Ok(Reading::of(&host)),
            Err(error) => {
                // The crate does not keep the kernel's number.
                nix::net::if_::if_nametoindex(self.interface.as_str())?;
                Err(io::Error::other(error))
            }
        }
    }

    fn set(&mut self, attributes: Vec<WireguardAttribute>) -> io::Result<()> {
        let message = self.message(WireguardCmd::SetDevice, attributes);
        let sequence = self.next_sequence();
        request(&self.generic, message, NLM_F_REQUEST | NLM_F_ACK, sequence).map(|_| ())
    }

    fn message(
        &self,
        cmd: WireguardCmd,
        mut attributes: Vec<WireguardAttribute>,
    ) -> GenlMessage<WireguardMessage> {
        attributes.insert(0, WireguardAttribute::IfName(self.interface.clone()));
        let payload = WireguardMessage { cmd, attributes };
        let header = GenlHeader {
            cmd: payload.command(),
            version: payload.version(),
        };
        GenlMessage::new(header, payload, self.family)
    }

    const fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }
}

fn connected(protocol: isize) -> io::Result<Socket> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.set_rx_buf_sz(RECEIVE_BYTES)?;
    Ok(socket)
}

/// Sends a request and collects its answers. The kernel answers while the request is sent, so waiting
/// needs no bound.
fn request<M>(socket: &Socket, message: M, flags: u16, sequence: u32) -> io::Result<Vec<M>>
where
    M: NetlinkSerializable + NetlinkDeserializable + std::fmt::Debug,
    NetlinkPayload<M>: From<M>,
{
    let mut request = NetlinkMessage::from(message);
    request.header.flags = flags;
    request.header.sequence_number = sequence;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut answers = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = &datagram[..];
        while !rest.is_empty() {
            let answer = NetlinkMessage::<M>::deserialize(rest).map_err(io::Error::other)?;
            let length = (answer.header.length as usize).next_multiple_of(4);
            rest = rest.get(length.max(16)..).unwrap_or_default();
            if answer.header.sequence_number != sequence {
                continue;
            }
            match answer.payload {
                NetlinkPayload::InnerMessage(message) => answers.push(message),
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    return Err(error.to_io());
                }
                NetlinkPayload::Done(done) if done.code < 0 => {
                    return Err(io::Error::from_raw_os_error(-done.code));
                }
                NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => return Ok(answers),
                _ => {}
            }
        }
    }
}
