//! Asks discovery servers from a socket of its own: does TCP connect, does UDP come back, and from which
//! address a server sees it. One UDP socket for all servers, so that their answers tell how a NAT maps.

use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::time::{Duration, Instant};

use mesh_proto::stun::{self, TransactionId};
use serde::Serialize;

/// Longest wait for one answer; lost datagrams are sent again.
const PATIENCE: Duration = Duration::from_millis(700);
const ATTEMPTS: usize = 3;

/// What one discovery server answered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Server {
    pub(super) url: String,
    /// Where its name resolves to; null if it does not.
    pub(super) address: Option<SocketAddr>,
    /// TCP connects.
    pub(super) tcp: bool,
    /// Why not.
    pub(super) tcp_error: Option<String>,
    /// The address the server sees a UDP socket of this host at; null without an answer.
    pub(super) reflexive: Option<SocketAddr>,
    /// The address this host sends from.
    pub(super) local: Option<IpAddr>,
    pub(super) rtt_ms: Option<f64>,
}

/// Asks all of them, one after the other; each takes up to two seconds.
pub(super) fn all(urls: &[String]) -> Vec<Server> {
    let sockets = [
        UdpSocket::bind("0.0.0.0:0").ok(),
        UdpSocket::bind("[::]:0").ok(),
    ];
    urls.iter().map(|url| one(url, &sockets)).collect()
}

fn one(url: &str, sockets: &[Option<UdpSocket>; 2]) -> Server {
    let mut server = Server {
        url: url.to_owned(),
        address: None,
        tcp: false,
        tcp_error: None,
        reflexive: None,
        local: None,
        rtt_ms: None,
    };
    let address = match resolve(url) {
        Ok(address) => address,
        Err(error) => {
            server.tcp_error = Some(error);
            return server;
        }
    };
    server.address = Some(address);
    match TcpStream::connect_timeout(&address, PATIENCE * 2) {
        Ok(_) => server.tcp = true,
        Err(error) => server.tcp_error = Some(error.to_string()),
    }
    let socket = &sockets[usize::from(address.is_ipv6())];
    if let Some(socket) = socket
        && let Some((reflexive, rtt)) = ask(socket, address)
    {
        server.reflexive = Some(reflexive);
        server.rtt_ms = Some(rtt.as_secs_f64() * 1000.0);
    }
    server.local = local_address(address);
    server
}

/// `https://host[:port]` as an address; the port of the scheme if none is given.
fn resolve(url: &str) -> Result<SocketAddr, String> {
    let (scheme, rest) = url.split_once("://").ok_or("not an address of a server")?;
    let host = rest.split('/').next().unwrap_or(rest);
    let port = if scheme == "http" { 80 } else { 443 };
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let name = if has_port {
        host.to_owned()
    } else {
        format!("{host}:{port}")
    };
    let mut addresses = name
        .to_socket_addrs()
        .map_err(|error| format!("{host} does not resolve: {error}"))?;
    addresses
        .next()
        .ok_or_else(|| format!("{host} has no address"))
}

/// The address the host's routes send from.
fn local_address(to: SocketAddr) -> Option<IpAddr> {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(to).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

fn ask(socket: &UdpSocket, server: SocketAddr) -> Option<(SocketAddr, Duration)> {
    for _ in 0..ATTEMPTS {
        let mut id = [0; 12];
        getrandom::fill(&mut id).ok()?;
        let (id, sent) = (TransactionId(id), Instant::now());
        socket.send_to(&stun::encode_request(id), server).ok()?;
        while let Some(left) = PATIENCE
            .checked_sub(sent.elapsed())
            .filter(|left| !left.is_zero())
        {
            socket.set_read_timeout(Some(left)).ok()?;
            let mut buffer = [0; 512];
            let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                continue;
            };
            // Late answers of other servers, and what strangers send, are not this answer.
            if from == server
                && let Some((answered, mapped)) = stun::decode_response(&buffer[..length])
                && answered == id
            {
                return Some((mapped, sent.elapsed()));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_servers() {
        for (url, wanted) in [
            ("http://192.0.2.1:7400", "192.0.2.1:7400"),
            ("https://192.0.2.1", "192.0.2.1:443"),
            ("https://[2001:db8::1]:7400/", "[2001:db8::1]:7400"),
            ("http://[2001:db8::1]", "[2001:db8::1]:80"),
        ] {
            assert_eq!(resolve(url).unwrap().to_string(), wanted, "{url}");
        }
        assert!(resolve("nonsense").is_err());
    }

    #[test]
    fn a_server_that_answers_and_one_that_does_not() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let mapped: SocketAddr = "203.0.113.9:4000".parse().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            let (length, from) = socket.recv_from(&mut buffer).unwrap();
            let id = stun::decode_request(&buffer[..length]).unwrap();
            // A stranger's answer first: it must not count.
            let wrong =
                stun::encode_response(TransactionId([9; 12]), "192.0.2.66:6".parse().unwrap());
            socket.send_to(&wrong, from).unwrap();
            socket
                .send_to(&stun::encode_response(id, mapped), from)
                .unwrap();
        });
        let servers = all(&[format!("http://{address}")]);
        assert_eq!(servers[0].reflexive, Some(mapped));
        assert!(!servers[0].tcp && servers[0].tcp_error.is_some());
        assert_eq!(servers[0].local, Some(IpAddr::from([127, 0, 0, 1])));
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let silent = format!("http://{}", silent.local_addr().unwrap());
        assert_eq!(all(&[silent])[0].reflexive, None);
    }
}
