//! Answers of the WireGuard cross-platform interface. They hold keys, so they are wiped when dropped.

use std::fmt::Write as _;

use zeroize::Zeroizing;

use crate::engine::snapshot::{DeviceSnapshot, PeerSnapshot};

/// Bytes an average peer takes, so that the text is not moved (and left behind) as it grows.
const PEER_BYTES: usize = 1024;

/// The answer to `get=1`.
pub(super) fn device(device: &DeviceSnapshot) -> Zeroizing<String> {
    let prefixes: usize = device.peers.iter().map(|peer| peer.allowed_ips.len()).sum();
    let room = (device.peers.len() + 1) * PEER_BYTES + prefixes * 64;
    let mut out = Zeroizing::new(String::with_capacity(room));
    key(&mut out, "private_key", device.private_key.expose());
    line(&mut out, "listen_port", device.listen_port);
    if device.mark != 0 {
        line(&mut out, "fwmark", device.mark);
    }
    for one in &device.peers {
        peer(&mut out, one);
    }
    out.push_str("errno=0\n\n");
    out
}

/// A refusal. Negative, which is what makes wg(8) print the right words.
pub(super) fn error(errno: i32) -> Zeroizing<String> {
    Zeroizing::new(format!("errno={}\n\n", -errno))
}

fn peer(out: &mut String, peer: &PeerSnapshot) {
    key(out, "public_key", &peer.public_key.0);
    if let Some(preshared) = &peer.preshared_key {
        key(out, "preshared_key", preshared.expose());
    }
    line(out, "protocol_version", 1);
    if let Some(endpoint) = peer.endpoint {
        line(out, "endpoint", endpoint);
    }
    let handshake = peer.last_handshake.unwrap_or_default();
    line(out, "last_handshake_time_sec", handshake.as_secs());
    line(out, "last_handshake_time_nsec", handshake.subsec_nanos());
    line(out, "tx_bytes", peer.tx_bytes);
    line(out, "rx_bytes", peer.rx_bytes);
    line(out, "persistent_keepalive_interval", peer.keepalive);
    for prefix in &peer.allowed_ips {
        line(out, "allowed_ip", prefix);
    }
}

fn line(out: &mut String, name: &str, value: impl std::fmt::Display) {
    writeln!(out, "{name}={value}").expect("writing to a string cannot fail");
}

fn key(out: &mut String, name: &str, bytes: &[u8; 32]) {
    write!(out, "{name}=").expect("writing to a string cannot fail");
    for byte in bytes {
        write!(out, "{byte:02x}").expect("writing to a string cannot fail");
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_proto::{PresharedKey, WgPrivateKey, WgPublicKey};
    use std::time::Duration;

    #[test]
    fn a_device_with_all_there_is() {
        let snapshot = DeviceSnapshot {
            private_key: WgPrivateKey::from_bytes([0xab; 32]),
            listen_port: 51840,
            mark: 0x1000,
            peers: vec![PeerSnapshot {
                public_key: WgPublicKey([1; 32]),
                preshared_key: Some(PresharedKey::from_bytes([2; 32])),
                endpoint: Some("[2001:db8::1]:51840".parse().unwrap()),
                allowed_ips: vec![
                    "10.0.0.0/8".parse().unwrap(),
                    "fd00::1/128".parse().unwrap(),
                ],
                last_handshake: Some(Duration::new(1_700_000_000, 5)),
                rx_bytes: 7,
                tx_bytes: 8,
                keepalive: 25,
            }],
        };
        let expected = format!(
            "private_key={}\nlisten_port=51840\nfwmark=4096\npublic_key={}\npreshared_key={}\n\
             protocol_version=1\nendpoint=[2001:db8::1]:51840\n\
             last_handshake_time_sec=1700000000\nlast_handshake_time_nsec=5\ntx_bytes=8\nrx_bytes=7\n\
             persistent_keepalive_interval=25\nallowed_ip=10.0.0.0/8\nallowed_ip=fd00::1/128\n\
             errno=0\n\n",
            "ab".repeat(32),
            "01".repeat(32),
            "02".repeat(32),
        );
        assert_eq!(*device(&snapshot), expected);
    }

    #[test]
    fn refusals() {
        assert_eq!(*error(libc::EPERM), "errno=-1\n\n");
    }
}
