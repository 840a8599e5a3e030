//! The remote control API on a real socket: who gets in, and to what.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use mesh_proto::control::{CONTROL_VERSION, Peers};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::*;

const TOKEN: &str = "0123456789abcdef";

async fn request(address: SocketAddr, method: &str, target: &str, more: &str) -> (u16, String) {
    let head =
        format!("{method} {target} HTTP/1.1\r\nhost: meshd\r\nconnection: close\r\n{more}\r\n");
    tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        (status, text)
    })
    .await
    .unwrap()
}

fn start(dir: &Path) -> (ControlServer, SocketAddr) {
    let (sender, mut receiver) = mpsc::channel(4);
    tokio::spawn(async move {
        while let Some(request) = receiver.recv().await {
            if let ControlRequest::Peers(reply) = request {
                let _ = reply.send(Ok(Peers {
                    version: CONTROL_VERSION,
                    peers: Vec::new(),
                }));
            }
        }
    });
    let server = serve(&dir.join("meshd.sock"), sender).unwrap();
    let listener = bind_remote("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let token = Arc::new(Zeroizing::new(TOKEN.to_owned()));
    server.offer_reading(listener, token).unwrap();
    (server, address)
}

#[tokio::test]
async fn only_the_token_opens_and_nothing_changes() {
    let dir = tempfile::tempdir().unwrap();
    let (server, address) = start(dir.path());
    let right = format!("authorization: Bearer {TOKEN}\r\n");
    let (status, text) = request(address, "GET", "/v1/peers", &right).await;
    assert_eq!(status, 200, "{text}");
    for wrong in [
        "",
        "authorization: Bearer \r\n",
        "authorization: Bearer 0123456789abcdeg\r\n",
        "authorization: Bearer 0123456789abcdef0\r\n",
        "authorization: Basic 0123456789abcdef\r\n",
    ] {
        for target in ["/v1/peers", "/v1/events", "/nonsense"] {
            let (status, text) = request(address, "GET", target, wrong).await;
            assert_eq!(status, 401, "{wrong} {text}");
            assert!(
                !text.contains(TOKEN) && text.contains("remote.tokenFile"),
                "{text}"
            );
        }
    }
    let (status, text) = request(address, "GET", "/v1/events", &right).await;
    assert_eq!(status, 200, "{text}");
    let (status, text) = request(address, "POST", "/v1/leave", &right).await;
    assert_eq!(status, 404, "{text}");
    server.stop().await;
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn an_address_that_comes_later_can_be_bound() {
    // TEST-NET-3 and a documentation prefix: never addresses of this machine.
    for address in ["203.0.113.77:0", "[2001:db8::77]:0"] {
        assert!(bind_remote(address.parse().unwrap()).is_ok(), "{address}");
    }
}
