//! How many packets the kernel threw away because nobody read them from an interface: one question over
//! netlink, without allocation. The answer counts since the interface was made.

use std::io;
use std::os::fd::AsRawFd;

use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

/// `RTM_GETSTATS` of `linux/rtnetlink.h`, since Linux 4.7.
const GET_STATISTICS: u16 = 94;
/// `RTM_NEWSTATS`.
const STATISTICS: u16 = 92;
/// `IFLA_STATS_LINK_64` of `linux/if_link.h`, as a number and as a bit of the filter.
const LINK_64: u16 = 1;
/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Bytes of `struct if_stats_msg`.
const BODY: usize = 12;
/// Bytes of `struct rtattr`.
const ATTRIBUTE: usize = 4;
/// `tx_dropped` in `struct rtnl_link_stats64`: seven numbers stand before it.
const TX_DROPPED: usize = 7 * 8;

/// Packets for this interface that were dropped because its queue was full or it was not read.
///
/// # Errors
/// If there is no such interface in this network namespace, or the kernel is older than 4.7.
pub fn queue_drops(interface: &str) -> io::Result<u64> {
    let index = if_nametoindex(interface)?;
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    send(netlink.as_raw_fd(), &request(index), MsgFlags::empty())?;
    let mut answer = [0; 4096];
    // The kernel has answered by the time it has taken the question.
    let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT)?;
    dropped(&answer[..length]).ok_or_else(|| io::Error::from_raw_os_error(libc::EOPNOTSUPP))
}

fn request(index: u32) -> [u8; HEADER + BODY] {
    let mut request = [0; HEADER + BODY];
    request[..4].copy_from_slice(&((HEADER + BODY) as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&GET_STATISTICS.to_ne_bytes());
    request[6..8].copy_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
    request[20..24].copy_from_slice(&index.to_ne_bytes());
    request[24..28].copy_from_slice(&u32::from(LINK_64).to_ne_bytes());
    request
}

/// `tx_dropped` in an answer; none if it is another one.
fn dropped(answer: &[u8]) -> Option<u64> {
    let number = |bytes: &[u8], at: usize| {
        let bytes = bytes.get(at..at + 2)?.try_into().ok()?;
        Some(u16::from_ne_bytes(bytes))
    };
    if number(answer, 4)? != STATISTICS {
        return None;
    }
    let mut rest = answer.get(HEADER + BODY..)?;
    loop {
        let length = usize::from(number(rest, 0)?);
        let content = rest.get(ATTRIBUTE..length)?;
        if number(rest, 2)? == LINK_64 {
            let bytes = content.get(TX_DROPPED..TX_DROPPED + 8)?.try_into().ok()?;
            return Some(u64::from_ne_bytes(bytes));
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kind: u16) -> Vec<u8> {
        let mut answer = vec![0; HEADER + BODY];
        answer[4..6].copy_from_slice(&kind.to_ne_bytes());
        // An empty one for alignment comes first.
        answer.extend([4_u16, 0].map(u16::to_ne_bytes).concat());
        answer.extend([4 + 25 * 8, LINK_64].map(u16::to_ne_bytes).concat());
        answer.extend((0..25_u64).flat_map(u64::to_ne_bytes));
        answer
    }

    #[test]
    fn the_right_number_is_read_and_nothing_outside_the_answer() {
        let whole = answer(STATISTICS);
        assert_eq!(dropped(&whole), Some(7));
        assert_eq!(dropped(&answer(2)), None, "an error");
        for length in 0..HEADER + BODY + 2 * ATTRIBUTE + TX_DROPPED + 8 {
            assert_eq!(dropped(&whole[..length]), None);
        }
    }

    #[test]
    fn an_attribute_of_no_length_ends_it() {
        let mut endless = answer(STATISTICS);
        endless[HEADER + BODY] = 0;
        assert_eq!(dropped(&endless), None);
    }
}
