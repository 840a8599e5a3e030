//! Offloads of a TUN device: packets larger than the MTU that whoever reads cuts into segments, and
//! checksums that whoever reads completes. Only the system calls that turn them on.

use std::fs::File;
use std::io;
use std::mem::size_of;
use std::os::fd::AsRawFd;

/// `TUNSETOFFLOAD` of `linux/if_tun.h`.
const TUNSETOFFLOAD: libc::Ioctl =
    nix::request_code_write!(b'T', 208, size_of::<libc::c_uint>()) as _;
const CHECKSUM: libc::c_ulong = 0x01;
const TCP_V4: libc::c_ulong = 0x02;
const TCP_V6: libc::c_ulong = 0x04;
const UDP_V4: libc::c_ulong = 0x20;
const UDP_V6: libc::c_ulong = 0x40;

/// What a device hands over and takes in pieces larger than the MTU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TunOffloads {
    /// TCP, both families.
    pub tcp: bool,
    /// UDP, both families; only together with TCP. Linux 6.2 and later.
    pub udp: bool,
}

impl TunOffloads {
    /// All there are.
    pub const ALL: Self = Self {
        tcp: true,
        udp: true,
    };
}

/// Turns on what is wanted, as far as the kernel has it. The device must have the virtio header.
pub(super) fn turn_on(file: &File, wanted: TunOffloads) -> TunOffloads {
    let tcp = CHECKSUM | TCP_V4 | TCP_V6;
    if wanted.udp && wanted.tcp && set(file, tcp | UDP_V4 | UDP_V6).is_ok() {
        return TunOffloads::ALL;
    }
    if wanted.tcp && set(file, tcp).is_ok() {
        return TunOffloads {
            tcp: true,
            udp: false,
        };
    }
    // A device that was taken over may have some from before.
    let _ = set(file, 0);
    TunOffloads::default()
}

fn set(file: &File, flags: libc::c_ulong) -> io::Result<()> {
    // SAFETY: the descriptor is open, and TUNSETOFFLOAD takes a number, not a pointer.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETOFFLOAD, flags) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
