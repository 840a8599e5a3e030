//! What a router says of a packet that is too large for the next hop: ICMP "fragmentation needed" (RFC 792,
//! RFC 1191) and ICMPv6 "packet too big" (RFC 4443 section 3.2). Pure.

use super::checksum;
use super::packet::IPV6_HEADER_BYTES;

const IPV4_HEADER_BYTES: usize = 20;
const ICMP_HEADER_BYTES: usize = 8;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const HOPS: u8 = 64;
const DONT_FRAGMENT: u8 = 0x40;
/// Bytes of the packet that the answer quotes: senders find the connection by them.
const QUOTED_BYTES: usize = 512;
/// Every IPv6 path carries so much (RFC 8200 section 5); hosts do not believe in less.
const IPV6_LEAST: u16 = 1280;

/// True if `packet`, or the largest of the packets it is cut into, exceeds `mtu`, and its sender can be told.
/// Senders that let routers cut their packets, and IPv6 packets of up to 1280 bytes, have their way.
pub(super) fn is_too_big(packet: &[u8], largest: usize, mtu: u16) -> bool {
    largest > usize::from(mtu)
        && match packet.first().map(|first| first >> 4) {
            Some(4) => packet
                .get(6)
                .is_some_and(|flags| flags & DONT_FRAGMENT != 0),
            Some(6) => largest > usize::from(IPV6_LEAST),
            _ => false,
        }
}

/// The answer to the sender of `packet`, a whole IP packet, as if it came from where that went: that is
/// the one address which this host expects behind the tunnel. None to what must not be answered: errors, and
/// packets to or from many.
pub(super) fn too_big_answer(packet: &[u8], mtu: u16) -> Option<Vec<u8>> {
    match packet.first()? >> 4 {
        4 => answer_v4(packet, mtu),
        6 => answer_v6(packet, mtu),
        _ => None,
    }
}

fn answer_v4(packet: &[u8], mtu: u16) -> Option<Vec<u8>> {
    let header = packet.first_chunk::<IPV4_HEADER_BYTES>()?;
    let transport = usize::from(header[0] & 0x0f) * 4;
    let is_fragment = u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0;
    // Echo, and everything that is not ICMP.
    let is_error = header[9] == ICMP && !matches!(packet.get(transport), Some(0 | 8));
    let many = |first: u8| first >= 224 || first == 0;
    if is_fragment || is_error || many(header[12]) || many(header[16]) {
        return None;
    }
    let quoted = &packet[..packet.len().min(QUOTED_BYTES)];
    let total = (IPV4_HEADER_BYTES + ICMP_HEADER_BYTES + quoted.len()) as u16;
    let mut out = vec![0x45, 0];
    out.extend_from_slice(&total.to_be_bytes());
    out.extend_from_slice(&[0, 0, 0, 0, HOPS, ICMP, 0, 0]);
    out.extend_from_slice(&header[16..20]);
    out.extend_from_slice(&header[12..16]);
    let sum = !checksum::fold(checksum::sum(&out, 0));
    out[10..12].copy_from_slice(&sum.to_ne_bytes());
    out.extend_from_slice(&[3, 4, 0, 0, 0, 0]);
    out.extend_from_slice(&mtu.to_be_bytes());
    out.extend_from_slice(quoted);
    let sum = !checksum::fold(checksum::sum(&out[IPV4_HEADER_BYTES..], 0));
    out[22..24].copy_from_slice(&sum.to_ne_bytes());
    Some(out)
}

fn answer_v6(packet: &[u8], mtu: u16) -> Option<Vec<u8>> {
    let header = packet.first_chunk::<IPV6_HEADER_BYTES>()?;
    // Types below 128 are errors.
    let is_error =
        header[6] == ICMPV6 && packet.get(IPV6_HEADER_BYTES).is_none_or(|kind| *kind < 128);
    if is_error || header[8] == 0xff || header[24] == 0xff {
        return None;
    }
    let quoted = &packet[..packet.len().min(QUOTED_BYTES)];
    let length = ICMP_HEADER_BYTES + quoted.len();
    let mut out = vec![0x60, 0, 0, 0];
    out.extend_from_slice(&(length as u16).to_be_bytes());
    out.extend_from_slice(&[ICMPV6, HOPS]);
    out.extend_from_slice(&header[24..40]);
    out.extend_from_slice(&header[8..24]);
    out.extend_from_slice(&[2, 0, 0, 0]);
    out.extend_from_slice(&u32::from(mtu.max(IPV6_LEAST)).to_be_bytes());
    out.extend_from_slice(quoted);
    let pseudo = checksum::pseudo_header(&out, ICMPV6, length);
    let sum = !checksum::fold(checksum::sum(&out[IPV6_HEADER_BYTES..], pseudo));
    out[42..44].copy_from_slice(&sum.to_ne_bytes());
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::test_packets::Flow;
    use proptest::prelude::*;

    /// The ones' complement sum, the slow way.
    fn total(parts: &[&[u8]], more: u32) -> u16 {
        let words = parts.iter().flat_map(|part| part.chunks(2));
        let mut sum = more
            + words
                .map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)])))
                .sum::<u32>();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    fn flow(v6: bool) -> Vec<u8> {
        let flow = Flow {
            v6,
            ..Flow::default()
        };
        flow.packet(1, 7, 0x10, &[5; 1360])
    }

    #[test]
    fn says_what_a_router_says() {
        let packet = flow(false);
        let answer = too_big_answer(&packet, 1280).unwrap();
        assert_eq!(
            usize::from(u16::from_be_bytes([answer[2], answer[3]])),
            answer.len()
        );
        assert_eq!(
            (&answer[12..16], &answer[16..20]),
            (&packet[16..20], &packet[12..16])
        );
        assert_eq!(answer[9], ICMP);
        assert_eq!(
            (answer[20], answer[21], &answer[24..28]),
            (3, 4, &[0, 0, 5, 0][..])
        );
        assert_eq!(answer[28..], packet[..QUOTED_BYTES]);
        assert_eq!(total(&[&answer[..20]], 0), 0xffff);
        assert_eq!(total(&[&answer[20..]], 0), 0xffff);

        let packet = flow(true);
        // 1200 would be ignored.
        let answer = too_big_answer(&packet, 1200).unwrap();
        assert_eq!(
            (&answer[8..24], &answer[24..40]),
            (&packet[24..40], &packet[8..24])
        );
        assert_eq!(
            (answer[40], answer[41], &answer[44..48]),
            (2, 0, &[0, 0, 5, 0][..])
        );
        assert_eq!(answer[48..], packet[..QUOTED_BYTES]);
        let length = (answer.len() - 40) as u32;
        assert_eq!(total(&[&answer[8..]], length + u32::from(ICMPV6)), 0xffff);
    }

    #[test]
    fn only_what_cannot_pass_is_refused() {
        let v4 = flow(false);
        assert!(is_too_big(&v4, 1281, 1280));
        assert!(!is_too_big(&v4, 1280, 1280));
        let mut cuttable = v4;
        cuttable[6] = 0;
        assert!(!is_too_big(&cuttable, 1281, 1280));
        let v6 = flow(true);
        assert!(is_too_big(&v6, 1281, 1200));
        assert!(!is_too_big(&v6, 1280, 1200));
    }

    #[test]
    fn errors_and_packets_to_many_are_not_answered() {
        let mut error = flow(false);
        (error[9], error[20]) = (ICMP, 3);
        assert_eq!(too_big_answer(&error, 1280), None);
        error[20] = 8;
        assert!(too_big_answer(&error, 1280).is_some());
        error[16] = 239;
        assert_eq!(too_big_answer(&error, 1280), None);
        let mut error = flow(true);
        (error[6], error[40]) = (ICMPV6, 2);
        assert_eq!(too_big_answer(&error, 1280), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120), mtu: u16) {
            let _ = is_too_big(&bytes, bytes.len(), mtu);
            let _ = too_big_answer(&bytes, mtu);
        }
    }
}
