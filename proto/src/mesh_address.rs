//! Mesh addresses: a node's stable ULA /128 (RFC 4193), derived so that nobody can claim another's.

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;
use sha2::{Digest as _, Sha256};

use crate::ids::{MemberId, MeshId};

/// The /64 of a mesh: `fd` and 56 bits of SHA-256 of the mesh id.
#[must_use]
pub fn mesh_prefix(mesh: &MeshId) -> Ipv6Net {
    let hash = Sha256::new()
        .chain_update(b"mesh prefix v1")
        .chain_update(mesh.0)
        .finalize();
    let mut octets = [0; 16];
    octets[0] = 0xfd;
    octets[1..8].copy_from_slice(&hash[..7]);
    Ipv6Net::new_assert(Ipv6Addr::from(octets), 64)
}

/// The mesh address of a member: the mesh's /64 and 64 bits of SHA-256 of the member id. Receivers
/// recompute it; it never travels.
#[must_use]
pub fn mesh_address(mesh: &MeshId, member: &MemberId) -> Ipv6Addr {
    let hash = Sha256::new()
        .chain_update(b"mesh address v1")
        .chain_update(member.0)
        .finalize();
    let mut octets = mesh_prefix(mesh).addr().octets();
    octets[8..].copy_from_slice(&hash[..8]);
    Ipv6Addr::from(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_distinct_and_inside_the_prefix() {
        let mesh = MeshId([1; 16]);
        let (a, b) = (
            mesh_address(&mesh, &MemberId([1; 32])),
            mesh_address(&mesh, &MemberId([2; 32])),
        );
        assert_ne!(a, b);
        assert!(a.is_unique_local() && mesh_prefix(&mesh).contains(&a));
        assert_eq!(a, mesh_address(&mesh, &MemberId([1; 32])));
        assert_ne!(mesh_prefix(&mesh), mesh_prefix(&MeshId([2; 16])));
    }
}
