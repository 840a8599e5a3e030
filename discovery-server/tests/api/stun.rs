//! STUN over loopback, both families, and on a host with several addresses.

use std::io::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use discovery_server::limits::Rate;
use discovery_server::settings::StunListen;
use mesh_proto::stun::{TransactionId, decode_response, encode_request};

use crate::client::{PATIENCE, TestServer};

/// Asks from `local` and gives what the server saw. The socket is connected, so that an answer from
/// another address than the one asked does not arrive.
fn ask(local: &str, server: SocketAddr) -> (SocketAddr, SocketAddr) {
    let socket = UdpSocket::bind(local).unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let id = TransactionId([3; 12]);
    socket.send(&encode_request(id)).unwrap();
    let mut buffer = [0; 200];
    let length = socket.recv(&mut buffer).unwrap();
    let (answered, seen) = decode_response(&buffer[..length]).unwrap();
    assert_eq!(answered, id);
    (seen, socket.local_addr().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn tells_the_source_address_from_the_address_it_was_asked_at() {
    for (listen, asked, local) in [
        ("127.0.0.1:0", "127.0.0.1", "127.0.0.1:0"),
        ("0.0.0.0:0", "127.0.0.2", "127.0.0.1:0"),
        ("[::1]:0", "::1", "[::1]:0"),
        ("[::]:0", "::1", "[::1]:0"),
        ("[::]:0", "127.0.0.3", "127.0.0.1:0"),
    ] {
        let server = TestServer::start_with(|settings| {
            settings.stun_listen = Some(StunListen::At(listen.parse().unwrap()));
        });
        let port = server.server.stun_address().unwrap().port();
        let at = SocketAddr::new(asked.parse().unwrap(), port);
        let (seen, sent_from) = tokio::task::spawn_blocking(move || ask(local, at))
            .await
            .unwrap();
        assert_eq!(seen, sent_from, "{listen} asked at {asked}");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn listens_by_default_on_the_port_of_the_api_and_limits_a_source() {
    let rate = Rate { rate: 1, burst: 3 };
    let server = TestServer::start_with(|settings| settings.limits.stun_per_source = rate);
    assert_eq!(server.server.stun_address(), Some(server.server.address()));
    let at = server.server.address();
    let answers = tokio::task::spawn_blocking(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(700)))
            .unwrap();
        for _ in 0..50 {
            socket
                .send_to(&encode_request(TransactionId([1; 12])), at)
                .unwrap();
        }
        let mut buffer = [0; 200];
        std::iter::from_fn(|| socket.recv(&mut buffer).ok()).count()
    });
    let answers = answers.await.unwrap();
    assert!((1..20).contains(&answers), "{answers}");
    server.stop().await;
}

/// coturn's client, which is not of this project.
#[tokio::test(flavor = "multi_thread")]
async fn an_independent_client_understands_the_answer() {
    if Command::new("turnutils_stunclient")
        .arg("-h")
        .output()
        .is_err()
    {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "turnutils_stunclient is missing: install Debian's coturn"
        );
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: turnutils_stunclient is not installed (Debian: coturn)"
        );
        return;
    }
    let server = TestServer::start();
    let port = server.server.stun_address().unwrap().port().to_string();
    let asked = tokio::task::spawn_blocking(move || {
        let mut client = Command::new("turnutils_stunclient");
        client
            .args(["-p", &port, "-L", "127.0.0.1", "127.0.0.1"])
            .output()
    });
    let answer = asked.await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    let seen = text
        .lines()
        .find(|line| line.contains("UDP reflexive addr"));
    assert!(
        seen.is_some_and(|line| line.contains("127.0.0.1:")),
        "{answer:?}"
    );
    server.stop().await;
}
