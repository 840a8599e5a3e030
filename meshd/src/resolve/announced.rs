//! One entry of `extraAnnouncedEndpoints`: an address or a name, with a port.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use mesh_proto::candidate::is_usable_endpoint;

/// An endpoint as the user writes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Announced {
    /// `203.0.113.7:51840` or `[2001:db8::7]:51840`
    Address(SocketAddr),
    /// `home.example.org:51840`
    Name {
        /// A DNS name.
        host: String,
        /// UDP port.
        port: u16,
    },
}

impl fmt::Display for Announced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl FromStr for Announced {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "write ADDRESS:PORT, [IPV6]:PORT or NAME:PORT";
        if let Ok(address) = text.parse::<SocketAddr>() {
            return match (is_usable_endpoint(address.ip()), address.port()) {
                (_, 0) => Err(format!("{text:?} has port 0; {expected}")),
                (false, _) => Err(format!("{text:?} is not an address others can reach")),
                (true, _) => Ok(Self::Address(address)),
            };
        }
        if text.parse::<IpAddr>().is_ok() {
            return Err(format!("{text:?} has no port; {expected}"));
        }
        let (host, port) = text
            .rsplit_once(':')
            .ok_or_else(|| format!("{text:?} has no port; {expected}"))?;
        match port.parse() {
            Ok(port) if port > 0 && is_host_name(host) => Ok(Self::Name {
                host: host.to_ascii_lowercase(),
                port,
            }),
            _ => Err(format!("{text:?} is not an endpoint; {expected}")),
        }
    }
}

/// Letters, digits, hyphens, underscores in labels of 1 to 63 bytes, 253 in all (RFC 1035 section
/// 2.3.4); not only digits and dots, which would be a mistyped address.
fn is_host_name(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    host.len() <= 253
        && host.split('.').all(is_label)
        && host.bytes().any(|byte| byte.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        for (text, shown) in [
            ("203.0.113.7:51840", Ok("203.0.113.7:51840")),
            ("[2001:db8::7]:1", Ok("[2001:db8::7]:1")),
            ("Home.Example.org:51840", Ok("home.example.org:51840")),
            ("home:51840", Ok("home:51840")),
            ("home.example.org", Err("has no port")),
            ("203.0.113.7", Err("has no port")),
            ("2001:db8::7", Err("has no port")),
            ("203.0.113.7:0", Err("port 0")),
            ("127.0.0.1:1", Err("not an address others can reach")),
            ("203.0.113.777:1", Err("not an endpoint")),
            ("a b:1", Err("not an endpoint")),
            ("a..b:1", Err("not an endpoint")),
            (":1", Err("not an endpoint")),
            ("x:65536", Err("not an endpoint")),
            ("", Err("has no port")),
        ] {
            let parsed = text.parse::<Announced>();
            match (parsed, shown) {
                (Ok(parsed), Ok(shown)) => assert_eq!(parsed.to_string(), shown),
                (Err(message), Err(part)) => assert!(message.contains(part), "{message}"),
                (parsed, _) => panic!("{text}: {parsed:?}"),
            }
        }
    }
}
