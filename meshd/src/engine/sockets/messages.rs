//! Many datagrams in one system call, in both directions: `sendmmsg` with UDP segmentation and
//! `recvmmsg` with what the kernel has joined (udp(7): `UDP_SEGMENT`, `UDP_GRO`). No allocation, no
//! knowledge of WireGuard. All `unsafe` of the sockets' data path is here.

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use meshd_core::data_plane::SourceLink;

use super::super::path::Route;

/// Messages in one call at most.
pub(in crate::engine) const MAX_MESSAGES: usize = 32;
/// Room for one received message: the largest that the kernel joins.
pub(in crate::engine) const MESSAGE_BYTES: usize = 65_536;

/// Words of a control buffer: packet information of either family and one number.
const CONTROL_WORDS: usize = 10;

type Control = [u64; CONTROL_WORDS];

/// Bytes for one remote address, to be sent as one datagram or as several of `segment` bytes, the last
/// perhaps shorter.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct Outgoing<'a> {
    /// Where to and where from.
    pub(in crate::engine) route: Route,
    /// Content.
    pub(in crate::engine) bytes: &'a [u8],
    /// Size of the parts; none for one datagram.
    pub(in crate::engine) segment: Option<u16>,
}

/// One received message: a datagram or several of the same sender, joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct Received {
    /// Where its bytes start in the buffer.
    pub(in crate::engine) start: usize,
    /// How many they are.
    pub(in crate::engine) length: usize,
    /// Size of each datagram in it; the last may be shorter.
    pub(in crate::engine) segment: usize,
    /// True if the kernel joined it.
    pub(in crate::engine) joined: bool,
    /// Where from, and which local address it came to.
    pub(in crate::engine) route: Route,
}

/// An address of either family as the kernel reads and writes it.
#[repr(C)]
#[derive(Clone, Copy)]
union Name {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

/// Sends up to [`MAX_MESSAGES`] messages, all of the socket's family; how many the kernel took. Never
/// waits.
///
/// # Errors
/// What was wrong with the first; nothing was sent then.
pub(super) fn send<'a>(
    socket: BorrowedFd<'_>,
    sources: &[SourceLink],
    messages: impl Iterator<Item = Outgoing<'a>>,
) -> io::Result<usize> {
    let mut count = 0;
    // SAFETY: all of these are plain data for which zero is valid: numbers, null pointers, no address.
    let (mut names, mut parts, mut headers): (
        [Name; MAX_MESSAGES],
        [libc::iovec; MAX_MESSAGES],
        [libc::mmsghdr; MAX_MESSAGES],
    ) = unsafe { mem::zeroed() };
    let mut controls: [Control; MAX_MESSAGES] = [[0; CONTROL_WORDS]; MAX_MESSAGES];
    for (at, message) in messages.take(MAX_MESSAGES).enumerate() {
        parts[at] = libc::iovec {
            iov_base: message.bytes.as_ptr().cast_mut().cast(),
            iov_len: message.bytes.len(),
        };
        let (name, name_bytes) = name_of(message.route.remote);
        names[at] = name;
        let header = &mut headers[at].msg_hdr;
        header.msg_name = (&raw mut names[at]).cast();
        header.msg_namelen = name_bytes;
        header.msg_iov = &raw mut parts[at];
        header.msg_iovlen = 1;
        header.msg_control = controls[at].as_mut_ptr().cast();
        header.msg_controllen = size_of::<Control>() as _;
        header.msg_controllen = fill_control(header, &message, sources) as _;
        count = at + 1;
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the descriptor is open. The first `count` headers point to names, parts and controls that
    // live until the call returns and have the lengths given; the kernel only reads what the parts
    // point to.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            count as _,
            flags as _,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Receives as many messages as there are and `buffer` has room for, [`MESSAGE_BYTES`] each and at most
/// [`MAX_MESSAGES`]; replaces what is in `received`. Never waits; nothing there is no error.
pub(super) fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    received: &mut Vec<Received>,
) -> io::Result<()> {
    received.clear();
    // SAFETY: all of these are plain data for which zero is valid: numbers, null pointers, no address.
    let (mut names, mut parts, mut headers): (
        [Name; MAX_MESSAGES],
        [libc::iovec; MAX_MESSAGES],
        [libc::mmsghdr; MAX_MESSAGES],
    ) = unsafe { mem::zeroed() };
    let mut controls: [Control; MAX_MESSAGES] = [[0; CONTROL_WORDS]; MAX_MESSAGES];
    let mut count = 0;
    let rooms = buffer.chunks_exact_mut(MESSAGE_BYTES);
    for (at, room) in rooms.take(MAX_MESSAGES).enumerate() {
        parts[at] = libc::iovec {
            iov_base: room.as_mut_ptr().cast(),
            iov_len: room.len(),
        };
        let header = &mut headers[at].msg_hdr;
        header.msg_name = (&raw mut names[at]).cast();
        header.msg_namelen = size_of::<Name>() as _;
        header.msg_iov = &raw mut parts[at];
        header.msg_iovlen = 1;
        header.msg_control = controls[at].as_mut_ptr().cast();
        header.msg_controllen = size_of::<Control>() as _;
        count = at + 1;
    }
    // SAFETY: the descriptor is open. The first `count` headers point to names, parts and controls that
    // live until the call returns and have the lengths given; parts point into `buffer`, which is
    // borrowed for writing.
    let taken = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            count as _,
            libc::MSG_DONTWAIT as _,
            ptr::null_mut(),
        )
    };
    let Ok(taken) = usize::try_from(taken) else {
        let error = io::Error::last_os_error();
        return match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(()),
            _ => Err(error),
        };
    };
    for (at, header) in headers.iter().take(taken).enumerate() {
        let length = header.msg_len as usize;
        let is_cut = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        let Some(remote) = address_of(&names[at]).filter(|_| !is_cut) else {
            continue;
        };
        let (local, segment) = read_control(&header.msg_hdr);
        received.push(Received {
            start: at * MESSAGE_BYTES,
            length,
            segment: segment.unwrap_or(length).max(1),
            joined: segment.is_some(),
            route: Route { remote, local },
        });
    }
    Ok(())
}

fn name_of(address: SocketAddr) -> (Name, libc::socklen_t) {
    match address {
        SocketAddr::V4(v4) => {
            let v4 = libc::sockaddr_in {
                sin_family: libc::AF_INET as _,
                sin_port: v4.port().to_be(),
                sin_addr: v4_address(*v4.ip()),
                sin_zero: [0; 8],
            };
            (Name { v4 }, size_of::<libc::sockaddr_in>() as _)
        }
        SocketAddr::V6(v6) => {
            let v6 = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as _,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: v6_address(*v6.ip()),
                sin6_scope_id: v6.scope_id(),
            };
            (Name { v6 }, size_of::<libc::sockaddr_in6>() as _)
        }
    }
}

/// One remote is one path, whatever flow label it used.
fn address_of(name: &Name) -> Option<SocketAddr> {
    // SAFETY: both variants start with the family, and every byte of the union is initialised: it was
    // zeroed before the kernel wrote to it.
    let family = i32::from(unsafe { name.v4.sin_family });
    match family {
        libc::AF_INET => {
            // SAFETY: the family says which variant it is.
            let v4 = unsafe { name.v4 };
            let address = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddrV4::new(address, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: the family says which variant it is.
            let v6 = unsafe { name.v6 };
            let address = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            Some(SocketAddrV6::new(address, port, 0, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

const fn v4_address(address: Ipv4Addr) -> libc::in_addr {
    libc::in_addr {
        s_addr: address.to_bits().to_be(),
    }
}

const fn v6_address(address: Ipv6Addr) -> libc::in6_addr {
    libc::in6_addr {
        s6_addr: address.octets(),
    }
}

/// Writes the control messages of `message` into the header's control buffer; how long they are.
fn fill_control(header: &libc::msghdr, message: &Outgoing<'_>, sources: &[SourceLink]) -> usize {
    let mut used = 0;
    let link = link_of(message.route, sources).unwrap_or(0);
    match (message.route.remote, message.route.local) {
        (SocketAddr::V4(_), Some(IpAddr::V4(local))) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: link as _,
                ipi_spec_dst: v4_address(local),
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            put(header, &mut used, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        (SocketAddr::V6(_), Some(IpAddr::V6(local))) => {
            let info = libc::in6_pktinfo {
                ipi6_addr: v6_address(local),
                ipi6_ifindex: link as _,
            };
            put(
                header,
                &mut used,
                libc::IPPROTO_IPV6,
                libc::IPV6_PKTINFO,
                info,
            );
        }
        _ => {}
    }
    if let Some(segment) = message.segment {
        put(header, &mut used, libc::SOL_UDP, libc::UDP_SEGMENT, segment);
    }
    used
}

/// The link that packets of this route leave by, if it is known to lead there; else the host's routes
/// choose.
fn link_of(route: Route, sources: &[SourceLink]) -> Option<u32> {
    let local = route.local?;
    let source = sources.iter().find(|source| source.address == local)?;
    let to = route.remote.ip();
    let leads = source.leads.iter().any(|prefix| prefix.contains(&to));
    leads.then_some(source.link)
}

/// Appends one control message behind the first `used` bytes.
fn put<T: Copy>(header: &libc::msghdr, used: &mut usize, level: i32, kind: i32, value: T) {
    // SAFETY: pure arithmetic.
    let (space, length) = unsafe {
        let bytes = size_of::<T>() as libc::c_uint;
        (libc::CMSG_SPACE(bytes) as usize, libc::CMSG_LEN(bytes))
    };
    assert!(
        *used + space <= size_of::<Control>(),
        "the control buffer has room"
    );
    // SAFETY: the header's control buffer is a `Control`, aligned for a message header; `used` is a sum
    // of aligned sizes, and the message ends inside the buffer, as just checked.
    unsafe {
        let at: *mut libc::cmsghdr = header.msg_control.byte_add(*used).cast();
        (*at).cmsg_level = level;
        (*at).cmsg_type = kind;
        (*at).cmsg_len = length as _;
        libc::CMSG_DATA(at).cast::<T>().write_unaligned(value);
    }
    *used += space;
}

/// The local address and the segment size that came with a message.
fn read_control(header: &libc::msghdr) -> (Option<IpAddr>, Option<usize>) {
    let (mut local, mut segment) = (None, None);
    // SAFETY: the kernel has filled the control buffer and its length; the macros walk inside it, and
    // each kind of message holds the type that is read.
    unsafe {
        let mut at = libc::CMSG_FIRSTHDR(header);
        while let Some(message) = at.as_ref() {
            let data = libc::CMSG_DATA(at);
            match (message.cmsg_level, message.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info: libc::in_pktinfo = data.cast::<libc::in_pktinfo>().read_unaligned();
                    let address = u32::from_be(info.ipi_spec_dst.s_addr);
                    local = Some(Ipv4Addr::from(address).into());
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    local = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
                }
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    let size = data.cast::<libc::c_int>().read_unaligned();
                    segment = usize::try_from(size).ok().filter(|size| *size > 0);
                }
                _ => {}
            }
            at = libc::CMSG_NXTHDR(header, at);
        }
    }
    (local, segment)
}
