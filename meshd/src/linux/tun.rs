//! A TUN device: IP packets, one per call, without blocking; or pieces larger than the MTU where the
//! kernel offers that. No addresses, no routes, no link state: those are netlink's.

mod offload;
mod queue_drops;
mod vnet_header;

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

pub use offload::TunOffloads;
pub use queue_drops::queue_drops;
pub use vnet_header::{SegmentKind, VNET_HEADER_BYTES, VnetHeader};

/// Where the kernel offers TUN devices.
const DEVICE: &str = "/dev/net/tun";
/// Longest interface name, in bytes (`IFNAMSIZ` without the terminator).
pub const MAX_NAME_LEN: usize = libc::IFNAMSIZ - 1;
/// Packets the kernel keeps for the reader; its own default of 500 loses bursts at full rate, 2,000 are lost
/// where a program that sends has the processor for 15 ms, and 4,000 where a virtual machine's host takes it
/// away for 50 ms.
const QUEUE_PACKETS: u32 = 8000;
/// Of `linux/sockios.h`.
const SIOCSIFTXQLEN: libc::Ioctl = 0x8943;
/// `TUNSETIFF` of `linux/if_tun.h`.
const TUNSETIFF: libc::Ioctl = nix::request_code_write!(b'T', 202, size_of::<libc::c_int>()) as _;
/// `TUNSETPERSIST` of `linux/if_tun.h`.
const TUNSETPERSIST: libc::Ioctl =
    nix::request_code_write!(b'T', 203, size_of::<libc::c_int>()) as _;

/// Why a TUN device could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TunError {
    /// The name cannot be an interface name.
    #[error(
        "interface name {0:?} is not usable: write 1 to {MAX_NAME_LEN} characters without spaces, \
         '/', ':' and '%'"
    )]
    Name(String),
    /// The kernel has no TUN driver, or this process may not see the device.
    #[error(
        "cannot open {DEVICE}: {0}; load the module (modprobe tun) or give the service and its \
         container the device (DeviceAllow=/dev/net/tun rw)"
    )]
    Device(#[source] io::Error),
    /// Not privileged.
    #[error("cannot create TUN interface {0}: not permitted; run as root or with CAP_NET_ADMIN")]
    Permission(String),
    /// Another process has the interface.
    #[error(
        "cannot create TUN interface {0}: another program uses that name; stop it or set another \
         wireguard.interface"
    )]
    Busy(String),
    /// An interface of another kind has the name.
    #[error(
        "cannot create TUN interface {0}: an interface of that name exists and is not a TUN device; \
         remove it (meshd cleanup) or set another wireguard.interface"
    )]
    OtherKind(String),
    /// The MTU was refused.
    #[error("cannot set MTU {mtu} on {name}: {source}")]
    Mtu {
        /// Interface.
        name: String,
        /// In bytes.
        mtu: u32,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot create TUN interface {name}: {source}")]
    Create {
        /// Interface.
        name: String,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// An open TUN device. The interface disappears when this is dropped or the process dies.
#[derive(Debug)]
pub struct Tun {
    file: File,
    name: String,
    has_header: bool,
    offloads: TunOffloads,
}

impl Tun {
    /// Creates the interface, or takes over one that no process holds. It is down and has no
    /// addresses until netlink says otherwise. An `mtu` (bytes) of 0 leaves the kernel's default.
    ///
    /// # Errors
    ///
    /// Every variant of [`TunError`] says what to do.
    pub fn open(name: &str, mtu: u32) -> Result<Self, TunError> {
        Self::open_with(name, mtu, TunOffloads::default())
    }

    /// Like [`Tun::open`], with those of the `wanted` offloads that the kernel has. If there may be any,
    /// a [`VnetHeader`] stands before every packet: see [`Tun::has_header`].
    ///
    /// # Errors
    ///
    /// As [`Tun::open`]; a missing offload is none.
    pub fn open_with(name: &str, mtu: u32, wanted: TunOffloads) -> Result<Self, TunError> {
        let has_header = wanted != TunOffloads::default();
        match Self::attach(name, mtu, has_header, wanted) {
            // So answers a kernel without the header; and an interface of another kind, again.
            Err(TunError::OtherKind(_)) if has_header => {
                Self::attach(name, mtu, false, TunOffloads::default())
            }
            result => result,
        }
    }

    fn attach(
        name: &str,
        mtu: u32,
        has_header: bool,
        wanted: TunOffloads,
    ) -> Result<Self, TunError> {
        let mut request = named_request(name)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(DEVICE)
            .map_err(TunError::Device)?;
        let header_flag = if has_header { libc::IFF_VNET_HDR } else { 0 };
        request.ifr_ifru.ifru_flags =
            (libc::IFF_TUN | libc::IFF_NO_PI | header_flag) as libc::c_short;
        attach(&file, &mut request).map_err(|source| explain(name, source))?;
        if mtu != 0 {
            set_number(name, libc::SIOCSIFMTU as _, mtu).map_err(|source| TunError::Mtu {
                name: name.to_owned(),
                mtu,
                source,
            })?;
        }
        // A shorter queue costs speed only.
        let _ = set_number(name, SIOCSIFTXQLEN, QUEUE_PACKETS);
        let offloads = if has_header {
            offload::turn_on(&file, wanted)
        } else {
            TunOffloads::default()
        };
        Ok(Self {
            file,
            name: name.to_owned(),
            has_header,
            offloads,
        })
    }

    /// True if a [`VnetHeader`] stands before every packet read and written.
    #[must_use]
    pub const fn has_header(&self) -> bool {
        self.has_header
    }

    /// What may be read and written in pieces larger than the MTU.
    #[must_use]
    pub const fn offloads(&self) -> TunOffloads {
        self.offloads
    }

    /// The interface name as it was opened.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads one packet; what does not fit in `buffer` is cut off.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] when there is none, see [`is_gone`] for the rest.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.file).read(buffer)
    }

    /// Hands one IP packet to the kernel.
    ///
    /// # Errors
    ///
    /// [`is_down`] and [`is_gone`] tell the states of the interface apart; `EINVAL` is a packet that
    /// is neither IPv4 nor IPv6.
    pub fn write(&self, packet: &[u8]) -> io::Result<usize> {
        (&self.file).write(packet)
    }
}

impl Tun {
    /// Hands one IP packet to the kernel that lies in several places; the first is the header, if there
    /// is one.
    ///
    /// # Errors
    ///
    /// As [`Tun::write`].
    pub fn write_parts(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        (&self.file).write_vectored(parts)
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// True if somebody deleted the interface: drop the [`Tun`] and open it again.
#[must_use]
pub fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EBADFD | libc::ENODEV | libc::ENXIO)
    )
}

/// True if the interface is administratively down: packets are lost until it is up, opening it
/// again would not help.
#[must_use]
pub fn is_down(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EIO)
}

fn named_request(name: &str) -> Result<libc::ifreq, TunError> {
    let usable = !name.is_empty()
        && name.len() <= MAX_NAME_LEN
        && name != "."
        && name != ".."
        && name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'%'));
    if !usable {
        return Err(TunError::Name(name.to_owned()));
    }
    let mut ifr_name = [0; libc::IFNAMSIZ];
    for (target, byte) in ifr_name.iter_mut().zip(name.bytes()) {
        *target = byte as libc::c_char;
    }
    Ok(libc::ifreq {
        ifr_name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_map: libc::__c_anonymous_ifru_map {
                mem_start: 0,
                mem_end: 0,
                base_addr: 0,
                irq: 0,
                dma: 0,
                port: 0,
            },
        },
    })
}

fn attach(file: &File, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: the descriptor is open, and TUNSETIFF reads and writes one `ifreq`, which `request` is.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // A device that somebody made beforehand would outlive this process, and its routes with it.
    // SAFETY: the descriptor is open, and TUNSETPERSIST takes a number, not a pointer.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETPERSIST, 0) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Sets one number of an interface: `request` is `SIOCSIFMTU` or `SIOCSIFTXQLEN`.
fn set_number(name: &str, request: libc::Ioctl, value: u32) -> io::Result<()> {
    let mut argument = named_request(name).map_err(|error| io::Error::other(error.to_string()))?;
    // All numbers of the union share one place.
    argument.ifr_ifru.ifru_mtu =
        libc::c_int::try_from(value).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let control = socket(
        AddressFamily::Unix,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    // SAFETY: the descriptor is open, and both requests read one `ifreq`, which `argument` is.
    let result = unsafe { libc::ioctl(control.as_raw_fd(), request, &raw const argument) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn explain(name: &str, source: io::Error) -> TunError {
    let name = name.to_owned();
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => TunError::Permission(name),
        Some(libc::EBUSY) => TunError::Busy(name),
        Some(libc::EINVAL) => TunError::OtherKind(name),
        _ => TunError::Create { name, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_kernel_would_refuse_or_expand_are_refused() {
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "mesh 0",
            "mesh%d",
            "a:1",
            "sixteen-letters-",
            "mésh",
        ] {
            let result = named_request(name);
            assert!(matches!(result, Err(TunError::Name(_))), "{name:?}");
        }
        for name in ["m", "mesh0", "fifteen-letters"] {
            let request = named_request(name).unwrap();
            assert_eq!(request.ifr_name[name.len()], 0, "{name:?} is terminated");
        }
    }

    #[test]
    fn errors_say_what_to_do() {
        let cases = [
            (libc::EPERM, "CAP_NET_ADMIN"),
            (libc::EBUSY, "another program"),
            (libc::EINVAL, "meshd cleanup"),
        ];
        for (errno, expected) in cases {
            let text = explain("mesh0", io::Error::from_raw_os_error(errno)).to_string();
            assert!(text.contains(expected) && text.contains("mesh0"), "{text}");
        }
    }

    #[test]
    fn states_of_the_interface_are_told_apart() {
        let gone = io::Error::from_raw_os_error(libc::EBADFD);
        let down = io::Error::from_raw_os_error(libc::EIO);
        let empty = io::Error::from_raw_os_error(libc::EAGAIN);
        assert!(is_gone(&gone) && !is_down(&gone));
        assert!(is_down(&down) && !is_gone(&down));
        assert!(!is_gone(&empty) && !is_down(&empty));
    }
}
