//! Callers: whose request it is when it comes through a proxy. Only proxies that the settings name are
//! believed: anybody can send a header.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use ipnet::IpNet;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// True if `address` is one of the trusted proxies.
#[must_use]
pub fn is_proxy(trusted: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|network| network.contains(&address))
}

/// The caller of a request that came over a connection from `peer`: the last address in
/// `X-Forwarded-For` that is no trusted proxy itself, because each trusted one has appended whom it saw.
/// What stands before that was written by the caller, and is not looked at.
#[must_use]
pub fn caller_of(trusted: &[IpNet], peer: SocketAddr, headers: &HeaderMap) -> IpAddr {
    let fields: Vec<_> = headers.get_all(FORWARDED_FOR).iter().collect();
    let fields: Vec<_> = fields.iter().map(|field| field.as_bytes()).collect();
    caller_in(trusted, peer, &fields)
}

/// The same with the fields themselves, in their order.
#[must_use]
pub fn caller_in(trusted: &[IpNet], peer: SocketAddr, fields: &[&[u8]]) -> IpAddr {
    let mut caller = peer.ip().to_canonical();
    if !is_proxy(trusted, caller) {
        return caller;
    }
    for field in fields.iter().rev() {
        let Ok(field) = std::str::from_utf8(field) else {
            return caller;
        };
        for part in field.rsplit(',') {
            let Some(address) = address(part.trim()) else {
                return caller;
            };
            caller = address;
            if !is_proxy(trusted, caller) {
                return caller;
            }
        }
    }
    caller
}

/// An address, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let bare = text.parse::<IpAddr>().ok();
    bare.or_else(with_port)
        .map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(peer: &str, fields: &[&str]) -> String {
        let trusted = [
            "10.0.0.0/8".parse().unwrap(),
            "2001:db8::/64".parse().unwrap(),
        ];
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(FORWARDED_FOR, field.parse().unwrap());
        }
        caller_of(&trusted, peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed_and_only_what_they_saw() {
        for (peer, fields, expected) in [
            ("192.0.2.1:5", &["203.0.113.9"][..], "192.0.2.1"),
            ("10.0.0.1:5", &[], "10.0.0.1"),
            ("10.0.0.1:5", &["203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1:5", &["198.51.100.1, 203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1:5", &["203.0.113.9, 10.0.0.2"], "203.0.113.9"),
            (
                "10.0.0.1:5",
                &["198.51.100.1", "203.0.113.9,10.0.0.2"],
                "203.0.113.9",
            ),
            ("10.0.0.1:5", &["203.0.113.9, nonsense"], "10.0.0.1"),
            ("10.0.0.1:5", &["203.0.113.9:4711"], "203.0.113.9"),
            ("[2001:db8::1]:5", &["[2001:db8:1::2]:80"], "2001:db8:1::2"),
            (
                "[::ffff:10.0.0.1]:5",
                &["::ffff:203.0.113.9"],
                "203.0.113.9",
            ),
        ] {
            assert_eq!(caller(peer, fields), expected, "{peer} {fields:?}");
        }
    }
}
