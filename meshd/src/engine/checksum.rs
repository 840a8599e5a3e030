//! The Internet checksum (RFC 1071) over inner packets. Sums are kept in the machine's byte order, which
//! the checksum permits, so that no byte is moved.

use super::packet::IPV6_HEADER_BYTES;

/// Protocol number of TCP.
pub(super) const TCP: u8 = 6;
/// Protocol number of UDP.
pub(super) const UDP: u8 = 17;

/// The ones' complement sum of `bytes`, not folded, on top of `start`.
pub(super) fn sum(bytes: &[u8], start: u64) -> u64 {
    // Sixteen sums side by side, which compilers turn into vector instructions.
    let mut lanes = [0_u64; 16];
    let mut blocks = bytes.chunks_exact(64);
    for block in &mut blocks {
        for (lane, word) in lanes.iter_mut().zip(block.chunks_exact(4)) {
            *lane += u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
        }
    }
    let mut total = start + lanes.iter().sum::<u64>();
    let mut pairs = blocks.remainder().chunks_exact(2);
    for pair in &mut pairs {
        total += u64::from(u16::from_ne_bytes([pair[0], pair[1]]));
    }
    if let [last] = pairs.remainder() {
        total += u64::from(u16::from_ne_bytes([*last, 0]));
    }
    total
}

/// A sum in 16 bits.
pub(super) const fn fold(mut sum: u64) -> u16 {
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The sum of the pseudo header of an IP `packet` whose transport part has `length` bytes (RFC 9293
/// section 3.1, RFC 8200 section 8.1). `packet` holds a whole IP header.
pub(super) fn pseudo_header(packet: &[u8], protocol: u8, length: usize) -> u64 {
    let addresses = match packet[0] >> 4 {
        4 => &packet[12..20],
        _ => &packet[8..IPV6_HEADER_BYTES],
    };
    // No length here exceeds 16 bits, so that the forms of both families agree.
    let rest = u64::from(u16::from_ne_bytes([0, protocol])) + u64::from((length as u16).to_be());
    sum(addresses, rest)
}

/// Writes a checksum of `range` into it, at `offset`; `start` is the sum of what is not in it.
pub(super) fn write(range: &mut [u8], offset: usize, protocol: u8, start: u64) {
    range[offset..offset + 2].fill(0);
    let value = !fold(sum(range, start));
    // Zero means "none" in UDP (RFC 768).
    let value = if value == 0 && protocol == UDP {
        0xffff
    } else {
        value
    };
    range[offset..offset + 2].copy_from_slice(&value.to_ne_bytes());
}

/// Writes the header checksum of an IPv4 header, of this whole length.
pub(super) fn write_ipv4_header(header: &mut [u8]) {
    write(header, 10, 0, 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Word by word, in network order.
    fn naive(bytes: &[u8]) -> u16 {
        let mut total = 0_u32;
        for pair in bytes.chunks(2) {
            total += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
            total = (total & 0xffff) + (total >> 16);
        }
        total as u16
    }

    #[test]
    fn example_of_the_rfc() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(
            fold(sum(&bytes, 0)),
            u16::from_be_bytes([0xdd, 0xf2]).to_be()
        );
    }

    #[test]
    fn a_known_ipv4_header() {
        // From RFC 1071's usual textbook example.
        let mut header = [
            0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0,
            0xc7,
        ];
        write_ipv4_header(&mut header);
        assert_eq!(header[10..12], [0xb8, 0x61]);
        assert_eq!(fold(sum(&header, 0)), 0xffff);
    }

    #[test]
    fn udp_never_writes_zero() {
        let mut range = [0xff, 0xff, 0, 0];
        write(&mut range, 2, UDP, 0);
        assert_eq!(range[2..], [0xff, 0xff]);
        write(&mut range, 2, TCP, 0);
        assert_eq!(range[2..], [0, 0]);
    }

    proptest! {
        #[test]
        fn agrees_with_the_naive_sum(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
            prop_assert_eq!(fold(sum(&bytes, 0)).to_be(), naive(&bytes));
        }

        #[test]
        fn what_is_written_verifies(
            mut bytes in proptest::collection::vec(any::<u8>(), 4..300), start in 0_u64..0xffff_ffff,
        ) {
            write(&mut bytes, 2, UDP, start);
            prop_assert_eq!(fold(sum(&bytes, start)), 0xffff);
        }
    }
}
