//! STUN Binding, the little of RFC 8489 that an address echo needs: requests, success responses with
//! XOR-MAPPED-ADDRESS, FINGERPRINT on responses. No authentication, no other methods.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Length of a Binding request without attributes.
pub const REQUEST_BYTES: usize = 20;

/// The cookie of every message (RFC 8489 section 5).
pub const MAGIC_COOKIE: u32 = 0x2112_a442;
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const FINGERPRINT: u16 = 0x8028;
const FINGERPRINT_XOR: u32 = 0x5354_554e;

/// Tells answers to different questions apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId(pub [u8; 12]);

/// True if a datagram on the WireGuard port is STUN: top bits 00, the cookie in place (RFC 8489
/// section 5). WireGuard messages start with 1 to 4 and three zero bytes, so they never match.
#[must_use]
pub fn is_stun(datagram: &[u8]) -> bool {
    datagram.len() >= 20 && datagram[0] & 0xc0 == 0 && datagram[4..8] == MAGIC_COOKIE.to_be_bytes()
}

/// A Binding request.
#[must_use]
pub fn encode_request(id: TransactionId) -> [u8; REQUEST_BYTES] {
    let mut out = [0; REQUEST_BYTES];
    out[..2].copy_from_slice(&BINDING_REQUEST.to_be_bytes());
    out[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
    out[8..].copy_from_slice(&id.0);
    out
}

/// The transaction of a Binding request, or `None` for anything else. Attributes are skipped; a
/// request that asks for what this server does not know is still just asked for its address.
#[must_use]
pub fn decode_request(datagram: &[u8]) -> Option<TransactionId> {
    let (kind, id, _) = split_header(datagram)?;
    (kind == BINDING_REQUEST).then_some(id)
}

/// A Binding success response that tells `mapped`.
#[must_use]
pub fn encode_response(id: TransactionId, mapped: SocketAddr) -> Vec<u8> {
    let mut value = vec![0, if mapped.is_ipv4() { 1 } else { 2 }];
    value.extend_from_slice(&(mapped.port() ^ (MAGIC_COOKIE >> 16) as u16).to_be_bytes());
    match mapped.ip() {
        IpAddr::V4(v4) => value.extend_from_slice(&xor(v4.octets(), id)),
        IpAddr::V6(v6) => value.extend_from_slice(&xor(v6.octets(), id)),
    }
    let mut out = Vec::with_capacity(20 + 4 + value.len() + 8);
    out.extend_from_slice(&BINDING_SUCCESS.to_be_bytes());
    // The fingerprint counts in the length it is computed over (RFC 8489 section 14.7).
    out.extend_from_slice(&(4 + value.len() as u16 + 8).to_be_bytes());
    out.extend_from_slice(&MAGIC_COOKIE.to_be_bytes());
    out.extend_from_slice(&id.0);
    out.extend_from_slice(&XOR_MAPPED_ADDRESS.to_be_bytes());
    out.extend_from_slice(&(value.len() as u16).to_be_bytes());
    out.extend_from_slice(&value);
    let fingerprint = crc32(&out) ^ FINGERPRINT_XOR;
    out.extend_from_slice(&FINGERPRINT.to_be_bytes());
    out.extend_from_slice(&4u16.to_be_bytes());
    out.extend_from_slice(&fingerprint.to_be_bytes());
    out
}

/// Transaction and mapped address of a Binding success response, or `None` for anything else.
#[must_use]
pub fn decode_response(datagram: &[u8]) -> Option<(TransactionId, SocketAddr)> {
    let (kind, id, mut rest) = split_header(datagram)?;
    if kind != BINDING_SUCCESS {
        return None;
    }
    while let Some((head, tail)) = rest.split_first_chunk::<4>() {
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = tail.get(..length)?;
        if u16::from_be_bytes([head[0], head[1]]) == XOR_MAPPED_ADDRESS {
            return Some((id, mapped_address(value, id)?));
        }
        rest = tail.get(length.next_multiple_of(4)..)?;
    }
    None
}

fn split_header(datagram: &[u8]) -> Option<(u16, TransactionId, &[u8])> {
    if !is_stun(datagram) {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([datagram[2], datagram[3]]));
    if length != datagram.len() - 20 || length % 4 != 0 {
        return None;
    }
    let id = TransactionId(datagram[8..20].try_into().ok()?);
    Some((
        u16::from_be_bytes([datagram[0], datagram[1]]),
        id,
        &datagram[20..],
    ))
}

fn mapped_address(value: &[u8], id: TransactionId) -> Option<SocketAddr> {
    let (head, address) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([head[2], head[3]]) ^ (MAGIC_COOKIE >> 16) as u16;
    let ip: IpAddr = match head[1] {
        1 => Ipv4Addr::from(xor::<4>(address.try_into().ok()?, id)).into(),
        2 => Ipv6Addr::from(xor::<16>(address.try_into().ok()?, id)).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// XOR with cookie and transaction id (RFC 8489 section 14.2).
fn xor<const N: usize>(mut octets: [u8; N], id: TransactionId) -> [u8; N] {
    let pad = MAGIC_COOKIE.to_be_bytes().into_iter().chain(id.0);
    for (octet, pad) in octets.iter_mut().zip(pad) {
        *octet ^= pad;
    }
    octets
}

/// CRC-32 of ITU V.42, as RFC 8489 section 14.7 wants it.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                (crc >> 1) ^ 0xedb8_8320
            } else {
                crc >> 1
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::from_hex;
    use proptest::prelude::*;

    /// RFC 5769 section 2.2: sample IPv4 response (its SOFTWARE and MESSAGE-INTEGRITY are skipped).
    #[test]
    fn rfc_5769_ipv4_response() {
        let bytes: [u8; 80] = from_hex(concat!(
            "0101003c2112a442b7e7a701bc34d686fa87dfae802200",
            "0b7465737420766563746f7220002000080001a147e112a643",
            "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7",
            "80280004c07d4c96"
        ))
        .unwrap();
        let (id, mapped) = decode_response(&bytes).unwrap();
        assert_eq!(mapped, "192.0.2.1:32853".parse().unwrap());
        assert_eq!(id.0[..4], [0xb7, 0xe7, 0xa7, 0x01]);
        // Its fingerprint is over everything before it.
        assert_eq!(crc32(&bytes[..72]) ^ FINGERPRINT_XOR, 0xc07d_4c96);
    }

    #[test]
    fn round_trips() {
        let id = TransactionId([7; 12]);
        assert_eq!(decode_request(&encode_request(id)), Some(id));
        for text in ["203.0.113.7:51840", "[2001:db8::7]:1"] {
            let mapped: SocketAddr = text.parse().unwrap();
            assert_eq!(
                decode_response(&encode_response(id, mapped)),
                Some((id, mapped))
            );
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            if bytes.len() >= 20 {
                let length = (bytes.len() - 20) as u16;
                bytes[0] &= 1;
                bytes[2..4].copy_from_slice(&length.to_be_bytes());
                bytes[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
            }
            let _ = decode_request(&bytes);
            let _ = decode_response(&bytes);
        }
    }
}
