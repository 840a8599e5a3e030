//! The sockets on loopback, and a port in use.

use super::*;
use std::net::UdpSocket;

fn receive(sockets: &UdpSockets, family: UdpFamily) -> (Vec<u8>, Route) {
    let (bytes, message) = receive_message(sockets, family);
    (bytes, message.route)
}

fn receive_message(sockets: &UdpSockets, family: UdpFamily) -> (Vec<u8>, Received) {
    // Room for one, so that none is lost.
    let mut buffer = vec![0; MESSAGE_BYTES];
    let mut received = Vec::new();
    for _ in 0..1000 {
        sockets.receive(family, &mut buffer, &mut received).unwrap();
        if let Some(message) = received.first() {
            let end = message.start + message.length;
            return (buffer[message.start..end].to_vec(), *message);
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("nothing arrived");
}

#[test]
fn answers_leave_from_the_address_the_question_came_to() {
    let sockets = UdpSockets::open(0, 0, Offloads::ALL).unwrap();
    let there = UdpSocket::bind("127.0.0.1:0").unwrap();
    there
        .send_to(b"question", ("127.0.0.2", sockets.port()))
        .unwrap();
    let (bytes, route) = receive(&sockets, UdpFamily::V4);
    assert_eq!(bytes, b"question");
    assert_eq!(route.local, Some([127, 0, 0, 2].into()));
    assert_eq!(route.remote, there.local_addr().unwrap());
    sockets.send(route, b"answer").unwrap();
    let (_, from) = there.recv_from(&mut [0; 100]).unwrap();
    assert_eq!(from, ([127, 0, 0, 2], sockets.port()).into());
    let foreign = Route {
        local: Some([203, 0, 113, 9].into()),
        ..route
    };
    assert!(sockets.send(foreign, b"answer").is_err());
}

#[test]
fn v6_works_where_the_host_has_it() {
    let sockets = UdpSockets::open(0, 0, Offloads::ALL).unwrap();
    let Ok(there) = UdpSocket::bind("[::1]:0") else {
        println!("SKIPPED: no IPv6 loopback address");
        return;
    };
    there.send_to(b"question", ("::1", sockets.port())).unwrap();
    let (_, route) = receive(&sockets, UdpFamily::V6);
    assert_eq!(route.local, Some(Ipv6Addr::LOCALHOST.into()));
    sockets.send(route, b"answer").unwrap();
    assert_eq!(there.recv_from(&mut [0; 100]).unwrap().0, 6);
}

#[test]
fn outer_packets_may_be_fragmented() {
    let sockets = UdpSockets::open(0, 0, Offloads::ALL).unwrap();
    let value = |socket: &Socket, level, name| {
        let mut value: libc::c_int = -1;
        let mut length = size_of_val(&value) as libc::socklen_t;
        // SAFETY: the descriptor is open; value and length are valid for writing an int.
        let result = unsafe {
            let value = (&raw mut value).cast();
            libc::getsockopt(socket.as_raw_fd(), level, name, value, &raw mut length)
        };
        assert_eq!(result, 0);
        value
    };
    let v4 = value(&sockets.v4.socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER);
    assert_eq!(v4, libc::IP_PMTUDISC_DONT);
    if let Some(port) = &sockets.v6 {
        let v6 = value(&port.socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER);
        assert_eq!(v6, libc::IPV6_PMTUDISC_DONT);
    }
}

#[test]
fn a_port_in_use_is_told_apart() {
    let first = UdpSockets::open(0, 0, Offloads::ALL).unwrap();
    let error = UdpSockets::open(first.port(), 0, Offloads::ALL).unwrap_err();
    assert!(matches!(error, EngineError::PortInUse(port) if port == first.port()));
    assert_eq!(error.exit_code(), 1);
}

#[test]
fn large_messages_arrive_in_parts_of_their_size() {
    let (from, to) = (open_sockets(Offloads::ALL), open_sockets(Offloads::NONE));
    assert_eq!(to.offloads(), (false, false));
    let route = Route {
        remote: ([127, 0, 0, 1], to.port()).into(),
        local: Some([127, 0, 0, 5].into()),
    };
    let bytes: Vec<u8> = (0..2500_u32).map(|at| (at % 251) as u8).collect();
    let message = Outgoing {
        route,
        bytes: &bytes,
        segment: Some(1000),
    };
    let single = Outgoing {
        bytes: &bytes[..7],
        segment: None,
        ..message
    };
    let sent = from.send_messages(UdpFamily::V4, [message, single].into_iter());
    assert_eq!(sent.unwrap(), 2);
    let mut arrived = Vec::new();
    while arrived.len() < 4 {
        let (bytes, message) = receive_message(&to, UdpFamily::V4);
        assert!(!message.joined);
        assert_eq!(message.route.remote, ([127, 0, 0, 5], from.port()).into());
        arrived.push(bytes);
    }
    let expected: Vec<_> = bytes.chunks(1000).chain([&bytes[..7]]).collect();
    assert_eq!(arrived, expected);
}

#[test]
fn joined_messages_name_the_size_of_their_parts() {
    let (from, to) = (open_sockets(Offloads::ALL), open_sockets(Offloads::ALL));
    let remote = ([127, 0, 0, 1], to.port()).into();
    let bytes = [9; 2500];
    let message = Outgoing {
        route: Route {
            remote,
            local: None,
        },
        bytes: &bytes,
        segment: Some(1000),
    };
    from.send_messages(UdpFamily::V4, std::iter::once(message))
        .unwrap();
    let (bytes, message) = receive_message(&to, UdpFamily::V4);
    assert_eq!(message.route.local, Some([127, 0, 0, 1].into()));
    // On loopback nothing cuts the message on its way.
    assert_eq!(
        (bytes.len(), message.segment, message.joined),
        (2500, 1000, true)
    );
}

#[test]
fn an_error_of_a_later_message_leaves_the_earlier_ones_sent() {
    let (from, to) = (open_sockets(Offloads::ALL), open_sockets(Offloads::NONE));
    let remote = ([127, 0, 0, 1], to.port()).into();
    let message = |local: Option<[u8; 4]>| Outgoing {
        route: Route {
            remote,
            local: local.map(Into::into),
        },
        bytes: b"x",
        segment: None,
    };
    let foreign = Some([203, 0, 113, 1]);
    let sent = |locals: &[Option<[u8; 4]>]| {
        from.send_messages(UdpFamily::V4, locals.iter().map(|local| message(*local)))
    };
    assert_eq!(sent(&[None, foreign, None]).unwrap(), 1);
    assert!(sent(&[foreign, None]).is_err());
}

fn open_sockets(offloads: Offloads) -> UdpSockets {
    UdpSockets::open(0, 0, offloads).unwrap()
}

#[test]
fn a_source_leaves_by_its_own_link_where_that_leads() {
    let mut sockets = UdpSockets::open(0, 0, Offloads::ALL).unwrap();
    let there = UdpSocket::bind("127.0.0.1:0").unwrap();
    let route = Route {
        local: Some([127, 0, 0, 2].into()),
        remote: there.local_addr().unwrap(),
    };
    let source = |link, leads: &str| SourceLink {
        address: [127, 0, 0, 2].into(),
        link,
        leads: [leads.parse().unwrap()].into(),
    };
    // There is no such link: whoever insists on it fails.
    sockets.set_sources(vec![source(0x7fff_fff0, "127.0.0.0/8")]);
    assert!(sockets.send(route, b"no").is_err());
    sockets.set_sources(vec![source(0x7fff_fff0, "10.0.0.0/8")]);
    sockets.send(route, b"elsewhere").unwrap();
    sockets.set_sources(vec![source(1, "127.0.0.0/8")]);
    sockets.send(route, b"loopback").unwrap();
    let mut buffer = [0; 100];
    let (count, from) = there.recv_from(&mut buffer).unwrap();
    assert_eq!(
        (&buffer[..count], from.ip()),
        (&b"elsewhere"[..], route.local.unwrap())
    );
    assert_eq!(there.recv_from(&mut buffer).unwrap().0, 8);
}
