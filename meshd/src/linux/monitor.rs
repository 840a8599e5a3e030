//! Tells that links, addresses, routes or rules changed. Not what changed exactly: whoever listens reads
//! again, so no notification can be missed or come in the wrong order.

use std::io;
use std::time::Duration;

use rtnetlink::MulticastGroup;
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::connection::NetlinkError;
use super::netlink::Netlink;

/// Shortest time between two reports; the first comes at once.
const PACE: Duration = Duration::from_millis(50);
/// Wait before the socket is opened again after it failed.
const REOPEN_AFTER: Duration = Duration::from_secs(1);
/// Socket buffer in bytes: room for the burst when many interfaces or routes come at once.
const SOCKET_BUFFER: libc::c_int = 1 << 20;
/// Larger than any datagram that the kernel sends (32 KiB).
const DATAGRAM: usize = 64 * 1024;
/// Groups listened to.
const GROUPS: [MulticastGroup; 7] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
];

/// What changed since the last report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NetworkChanged {
    /// Links came, went, or changed state.
    pub links: bool,
    /// Addresses.
    pub addresses: bool,
    /// Routes, ours included if somebody else changed them.
    pub routes: bool,
    /// Rules, likewise.
    pub rules: bool,
    /// Notifications were lost: anything may have changed.
    pub lost: bool,
}

impl NetworkChanged {
    /// Everything may have changed.
    const LOST: Self = Self {
        links: true,
        addresses: true,
        routes: true,
        rules: true,
        lost: true,
    };

    fn is_empty(self) -> bool {
        self == Self::default()
    }

    fn merge(&mut self, other: Self) {
        self.links |= other.links;
        self.addresses |= other.addresses;
        self.routes |= other.routes;
        self.rules |= other.rules;
        self.lost |= other.lost;
    }
}

impl Netlink {
    /// Listens for changes in the network namespace of the calling thread, except for those that this
    /// handle makes itself (the kernel marks most of them; an address of ours is still reported). The
    /// first change is reported at once, then at most one report every 50 ms; none is lost, however
    /// slow the receiver.
    ///
    /// # Errors
    ///
    /// [`NetlinkError::Open`]. Later failures are repaired and reported as lost notifications.
    pub fn monitor(&self) -> Result<mpsc::Receiver<NetworkChanged>, NetlinkError> {
        let socket = open().map_err(NetlinkError::Open)?;
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(run(socket, self.connection.port(), sender));
        Ok(receiver)
    }
}

async fn run(mut socket: TokioSocket, own_port: u32, sender: mpsc::Sender<NetworkChanged>) {
    let mut buffer = Vec::with_capacity(DATAGRAM);
    let mut next_report = Instant::now();
    let mut pending = NetworkChanged::default();
    loop {
        tokio::select! {
            read = read_changes(&socket, own_port, &mut buffer) => match read {
                Ok(changes) => pending.merge(changes),
                Err(error) => {
                    tracing::warn!(%error, "the network monitor failed; opening it again");
                    pending = NetworkChanged::LOST;
                    socket = reopen(&sender).await;
                }
            },
            permit = due(&sender, next_report), if !pending.is_empty() => {
                let Ok(permit) = permit else { return };
                permit.send(std::mem::take(&mut pending));
                next_report = Instant::now() + PACE;
            }
            () = sender.closed() => return,
        }
    }
}

async fn due(
    sender: &mpsc::Sender<NetworkChanged>,
    at: Instant,
) -> Result<mpsc::Permit<'_, NetworkChanged>, mpsc::error::SendError<()>> {
    sleep_until(at).await;
    sender.reserve().await
}

fn open() -> io::Result<TokioSocket> {
    let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
    // The kernel cuts the size to net.core.rmem_max; overflows are reported.
    if let Err(error) = socket.socket_ref().set_rx_buf_sz(SOCKET_BUFFER) {
        tracing::debug!(%error, "network monitor with the default socket buffer");
    }
    let groups = GROUPS
        .iter()
        .fold(0, |groups, group| groups | 1 << (*group as u32 - 1));
    socket.socket_mut().bind(&SocketAddr::new(0, groups))?;
    Ok(socket)
}

async fn reopen(sender: &mpsc::Sender<NetworkChanged>) -> TokioSocket {
    loop {
        tokio::time::sleep(REOPEN_AFTER).await;
        match open() {
            Ok(socket) => return socket,
            Err(error) if sender.is_closed() => tracing::debug!(%error, "no network monitor"),
            Err(error) => tracing::warn!(%error, "cannot open the network monitor"),
        }
    }
}

async fn read_changes(
    socket: &TokioSocket,
    own_port: u32,
    buffer: &mut Vec<u8>,
) -> io::Result<NetworkChanged> {
    loop {
        buffer.clear();
        match socket.recv(buffer).await {
            Ok(()) => return Ok(changes(buffer, own_port)),
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOBUFS) => return Ok(NetworkChanged::LOST),
                Some(libc::EINTR) => {}
                _ => return Err(error),
            },
        }
    }
}

/// Reads the headers of the messages in a datagram. What is malformed ends the datagram and counts as
/// lost.
fn changes(mut datagram: &[u8], own_port: u32) -> NetworkChanged {
    let mut found = NetworkChanged::default();
    while !datagram.is_empty() {
        let Some(message) = Message::parse(datagram) else {
            found.merge(NetworkChanged::LOST);
            break;
        };
        if message.port != own_port && !message.is_cached_route() {
            found.merge(message.meaning());
        }
        datagram = datagram.get(message.aligned_len()..).unwrap_or_default();
    }
    found
}

/// One notification: `struct nlmsghdr` and what follows.
struct Message<'a> {
    kind: u16,
    port: u32,
    body: &'a [u8],
}

impl<'a> Message<'a> {
    const HEADER: usize = size_of::<libc::nlmsghdr>();

    fn parse(datagram: &'a [u8]) -> Option<Self> {
        let word = |at: usize| -> Option<[u8; 4]> { datagram.get(at..at + 4)?.try_into().ok() };
        let len = usize::try_from(u32::from_ne_bytes(word(0)?)).ok()?;
        let kind: [u8; 2] = datagram.get(4..6)?.try_into().ok()?;
        Some(Self {
            kind: u16::from_ne_bytes(kind),
            port: u32::from_ne_bytes(word(12)?),
            body: datagram.get(Self::HEADER..len)?,
        })
    }

    fn aligned_len(&self) -> usize {
        (Self::HEADER + self.body.len()).next_multiple_of(4)
    }

    fn meaning(&self) -> NetworkChanged {
        let mut changed = NetworkChanged::default();
        match self.kind {
            libc::RTM_NEWLINK | libc::RTM_DELLINK => changed.links = true,
            libc::RTM_NEWADDR | libc::RTM_DELADDR => changed.addresses = true,
            libc::RTM_NEWROUTE | libc::RTM_DELROUTE => changed.routes = true,
            libc::RTM_NEWRULE | libc::RTM_DELRULE => changed.rules = true,
            _ => {}
        }
        changed
    }

    /// Entries of the kernel's route cache, such as learned path MTUs, are not routes.
    fn is_cached_route(&self) -> bool {
        let flags = self.body.get(8..12).and_then(|flags| flags.try_into().ok());
        matches!(self.kind, libc::RTM_NEWROUTE | libc::RTM_DELROUTE)
            && flags.is_some_and(|flags| u32::from_ne_bytes(flags) & libc::RTM_F_CLONED != 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u16, port: u32, body: &[u8]) -> Vec<u8> {
        let len = u32::try_from(Message::HEADER + body.len()).unwrap();
        let mut bytes = Vec::new();
        bytes.extend(len.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 6]);
        bytes.extend(port.to_ne_bytes());
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn every_message_of_a_datagram_counts_but_our_own() {
        let mut datagram = message(libc::RTM_NEWLINK, 0, &[1; 17]);
        datagram.extend(message(libc::RTM_DELADDR, 0, &[0; 8]));
        datagram.extend(message(libc::RTM_NEWRULE, 42, &[0; 12]));
        let expected = NetworkChanged {
            links: true,
            addresses: true,
            ..NetworkChanged::default()
        };
        assert_eq!(changes(&datagram, 42), expected);
        assert!(changes(&datagram, 43).rules);
    }

    #[test]
    fn cached_routes_are_not_changes() {
        let mut body = [0; 12];
        let route = message(libc::RTM_NEWROUTE, 0, &body);
        body[8..12].copy_from_slice(&libc::RTM_F_CLONED.to_ne_bytes());
        let cached = message(libc::RTM_NEWROUTE, 0, &body);
        assert!(changes(&route, 42).routes);
        assert!(changes(&cached, 42).is_empty());
    }

    #[test]
    fn a_truncated_datagram_counts_as_lost() {
        let datagram = message(libc::RTM_NEWLINK, 0, &[0; 16]);
        assert!(changes(&datagram[..20], 42).lost);
        assert!(changes(&datagram[..3], 42).lost);
    }

    proptest! {
        #[test]
        fn no_datagram_panics_or_hangs(datagram in proptest::collection::vec(any::<u8>(), 0..256)) {
            changes(&datagram, 42);
        }
    }
}
