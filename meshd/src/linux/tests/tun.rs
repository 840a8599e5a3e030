//! TUN devices.

use std::net::UdpSocket;
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::namespace::{close, in_namespace, ip};
use crate::linux::tun::{Tun, TunError, is_down, is_gone};

/// A UDP datagram from 10.9.0.2:7 to 10.9.0.1:7 with an empty payload and no checksum.
const DATAGRAM: [u8; 28] = [
    0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0x66, 0xbd, 10, 9, 0, 2, 10, 9, 0, 1, 0, 7, 0, 7, 0, 8, 0,
    0,
];

#[test]
fn packets_go_both_ways() {
    in_namespace(|| async {
        let tun = Tun::open("mesh0", 1400).unwrap();
        assert!(ip("-oneline link show mesh0").contains("mtu 1400"));
        assert!(is_down(&tun.write(&DATAGRAM).unwrap_err()));
        ip("link set mesh0 addrgenmode none");
        ip("address add 10.9.0.1/24 dev mesh0");
        ip("link set mesh0 up");
        let socket = UdpSocket::bind("10.9.0.1:7").unwrap();
        assert_eq!(tun.write(&DATAGRAM).unwrap(), DATAGRAM.len());
        let mut buffer = [0; 2000];
        let (len, from) = socket.recv_from(&mut buffer).unwrap();
        assert_eq!((len, from), (0, "10.9.0.2:7".parse().unwrap()));

        let mut empty = [PollFd::new(tun.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut empty, PollTimeout::ZERO).unwrap(), 0);
        socket.send_to(b"hello", "10.9.0.2:7").unwrap();
        let len = tun.read(&mut buffer).unwrap();
        assert_eq!(&buffer[len - 5..len], b"hello");
        assert_eq!(buffer[0] >> 4, 4, "no packet information before the packet");
        let error = tun.read(&mut buffer).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    });
}

#[test]
fn a_deleted_interface_is_noticed_and_can_be_opened_again() {
    in_namespace(|| async {
        let tun = Tun::open("mesh0", 0).unwrap();
        ip("link delete mesh0");
        assert!(is_gone(&tun.read(&mut [0; 100]).unwrap_err()));
        assert!(is_gone(&tun.write(&DATAGRAM).unwrap_err()));
        let again = Tun::open("mesh0", 0).unwrap();
        assert_eq!(again.name(), "mesh0");
        close(again);
    });
}

#[test]
fn a_name_in_use_is_explained() {
    in_namespace(|| async {
        let _tun = Tun::open("mesh0", 0).unwrap();
        assert!(matches!(Tun::open("mesh0", 0), Err(TunError::Busy(_))));
        ip("link add eth0 type veth peer name far0");
        assert!(matches!(Tun::open("eth0", 0), Err(TunError::OtherKind(_))));
        assert!(matches!(
            Tun::open("mesh1", 1 << 20),
            Err(TunError::Mtu { .. })
        ));
    });
}

#[test]
fn a_device_made_beforehand_does_not_outlive_us() {
    in_namespace(|| async {
        ip("tuntap add mesh0 mode tun");
        close(Tun::open("mesh0", 0).unwrap());
    });
}
