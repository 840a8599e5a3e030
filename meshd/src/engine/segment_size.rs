//! Lowers the maximum segment size that TCP SYN segments announce to what fits the tunnel (RFC 9293
//! section 3.7.1), so that connections work where path MTU discovery is broken. Never raises it.

const PROTOCOL_TCP: u8 = 6;
const TCP_HEADER_BYTES: usize = 20;
const IPV6_HEADER_BYTES: usize = 40;
const FLAG_SYN: u8 = 0x02;
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_SEGMENT_SIZE: u8 = 2;
/// IPv4 and TCP headers without options.
const V4_HEADERS: u16 = 40;
/// IPv6 and TCP headers without options.
const V6_HEADERS: u16 = 60;

/// If `packet` is a TCP SYN that announces more than fits into `mtu` bytes: lowers the value and
/// corrects the checksum. True if it did.
pub(super) fn clamp_segment_size(packet: &mut [u8], mtu: u16) -> bool {
    let Some((segment, headers)) = tcp_segment(packet) else {
        return false;
    };
    let limit = mtu.saturating_sub(headers);
    let Some(tcp) = segment.first_chunk::<TCP_HEADER_BYTES>() else {
        return false;
    };
    if tcp[13] & FLAG_SYN == 0 {
        return false;
    }
    let header_bytes = usize::from(tcp[12] >> 4) * 4;
    let Some(at) = segment
        .get(..header_bytes)
        .and_then(find_segment_size_option)
    else {
        return false;
    };
    let old = u16::from_be_bytes([segment[at], segment[at + 1]]);
    if old <= limit {
        return false;
    }
    segment[at..at + 2].copy_from_slice(&limit.to_be_bytes());
    let mut sum = u16::from_be_bytes([segment[16], segment[17]]);
    // A value at an odd offset weighs in the sum with its bytes exchanged.
    let (old, new) = if at % 2 == 0 {
        (old, limit)
    } else {
        (old.swap_bytes(), limit.swap_bytes())
    };
    sum = update_checksum(sum, old, new);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    true
}

/// The TCP segment in an IP packet and the size of headers to be left room for. Not for fragments
/// other than the first, nor behind IPv6 extension headers.
fn tcp_segment(packet: &mut [u8]) -> Option<(&mut [u8], u16)> {
    match packet.first()? >> 4 {
        4 => {
            let header_bytes = usize::from(packet[0] & 0x0f) * 4;
            let offset = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x1fff;
            let is_tcp = *packet.get(9)? == PROTOCOL_TCP && offset == 0 && header_bytes >= 20;
            let segment = packet.get_mut(header_bytes..)?;
            is_tcp.then_some((segment, V4_HEADERS))
        }
        6 => {
            let is_tcp = *packet.get(6)? == PROTOCOL_TCP;
            let segment = packet.get_mut(IPV6_HEADER_BYTES..)?;
            is_tcp.then_some((segment, V6_HEADERS))
        }
        _ => None,
    }
}

/// Offset of the option's value in a whole TCP header.
fn find_segment_size_option(header: &[u8]) -> Option<usize> {
    let mut at = TCP_HEADER_BYTES;
    loop {
        match *header.get(at)? {
            OPTION_END => return None,
            OPTION_NOP => at += 1,
            kind => {
                let length = usize::from(*header.get(at + 1)?);
                if length < 2 || at + length > header.len() {
                    return None;
                }
                if kind == OPTION_SEGMENT_SIZE && length == 4 {
                    return Some(at + 2);
                }
                at += length;
            }
        }
    }
}

/// RFC 1624, equation 3: HC' = ~(~HC + ~m + m').
fn update_checksum(sum: u16, old: u16, new: u16) -> u16 {
    let mut total = u32::from(!sum) + u32::from(!old) + u32::from(new);
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    !(total as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An IP packet with a TCP header, these flags and options; checksum right.
    fn packet(v6: bool, flags: u8, options: &[u8]) -> Vec<u8> {
        let mut options = options.to_vec();
        options.resize(options.len().next_multiple_of(4), OPTION_END);
        let tcp_bytes = TCP_HEADER_BYTES + options.len();
        let mut out = if v6 { vec![0; 40] } else { vec![0; 20] };
        if v6 {
            out[0] = 0x60;
            out[6] = PROTOCOL_TCP;
            out[8] = 0xfd;
        } else {
            out[0] = 0x45;
            out[9] = PROTOCOL_TCP;
            out[12] = 10;
        }
        let start = out.len();
        out.resize(start + TCP_HEADER_BYTES, 0);
        out[start + 12] = (tcp_bytes as u8 / 4) << 4;
        out[start + 13] = flags;
        out.extend_from_slice(&options);
        let sum = checksum(&out);
        out[start + 16..start + 18].copy_from_slice(&sum.to_be_bytes());
        out
    }

    /// The checksum from scratch, with the checksum field as it is.
    fn checksum(packet: &[u8]) -> u16 {
        let start = if packet[0] >> 4 == 4 { 20 } else { 40 };
        let addresses = if start == 20 { 12 } else { 8 };
        let words = packet[addresses..].chunks(2);
        let sum: u32 = words
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)])))
            .sum();
        let mut total = sum + u32::from(PROTOCOL_TCP) + (packet.len() - start) as u32;
        while total > 0xffff {
            total = (total & 0xffff) + (total >> 16);
        }
        !(total as u16)
    }

    #[test]
    fn only_large_values_in_syn_segments_change() {
        const MSS_1460: [u8; 4] = [2, 4, 0x05, 0xb4];
        const MSS_1360: [u8; 4] = [2, 4, 0x05, 0x50];
        let ack = 0x10;
        for (name, v6, flags, options, expected) in [
            ("v4 syn", false, FLAG_SYN, &MSS_1460[..], Some(1380)),
            ("v6 syn", true, FLAG_SYN, &MSS_1460[..], Some(1360)),
            (
                "v4 syn ack",
                false,
                FLAG_SYN | ack,
                &MSS_1460[..],
                Some(1380),
            ),
            ("small enough", false, FLAG_SYN, &MSS_1360[..], None),
            ("exactly", true, FLAG_SYN, &MSS_1360[..], None),
            ("not a syn", false, ack, &MSS_1460[..], None),
            ("no option", false, FLAG_SYN, &[1, 1, 1, 0][..], None),
            (
                "odd offset",
                false,
                FLAG_SYN,
                &[1, 2, 4, 0x05, 0xb4][..],
                Some(1380),
            ),
            ("length of zero", false, FLAG_SYN, &[8, 0, 2, 4][..], None),
            ("past the end", false, FLAG_SYN, &[1, 1, 2, 4][..], None),
        ] {
            let before = packet(v6, flags, options);
            let mut after = before.clone();
            let changed = clamp_segment_size(&mut after, 1420);
            assert_eq!(changed, expected.is_some(), "{name}");
            assert_eq!(checksum(&after), 0, "{name}: checksum");
            match expected {
                None => assert_eq!(before, after, "{name}"),
                Some(size) => {
                    let start = if v6 { 40 } else { 20 };
                    let at = find_segment_size_option(&after[start..]).unwrap() + start;
                    assert_eq!(
                        u16::from_be_bytes([after[at], after[at + 1]]),
                        size,
                        "{name}"
                    );
                }
            }
        }
    }

    #[test]
    fn later_fragments_are_left_alone() {
        let mut fragment = packet(false, FLAG_SYN, &[2, 4, 0x05, 0xb4]);
        fragment[7] = 1;
        assert!(!clamp_segment_size(&mut fragment, 1420));
    }

    proptest! {
        #[test]
        fn checksum_stays_right(
            v6: bool, size: u16, mtu in 576_u16..9000, odd: bool,
        ) {
            let mut options = if odd { vec![OPTION_NOP] } else { Vec::new() };
            options.extend_from_slice(&[2, 4]);
            options.extend_from_slice(&size.to_be_bytes());
            let mut packet = packet(v6, FLAG_SYN, &options);
            clamp_segment_size(&mut packet, mtu);
            prop_assert_eq!(checksum(&packet), 0);
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..120), v4: bool,
        ) {
            if let Some(first) = bytes.first_mut() {
                *first = if v4 { 0x45 } else { 0x60 };
            }
            if let Some(protocol) = bytes.get_mut(if v4 { 9 } else { 6 }) {
                *protocol = PROTOCOL_TCP;
            }
            let _ = clamp_segment_size(&mut bytes, 1420);
        }
    }
}
