//! `meshctl key rotate`: has the local meshd replace its WireGuard key. The keys stay there.

use mesh_proto::control::KeyRotated;

use super::Session;
use crate::failure::Failure;

pub(super) fn rotate(session: &Session, cut_external_peers: bool) -> Result<(), Failure> {
    let target = if cut_external_peers {
        "/v1/key/rotate?cut_external_peers=true"
    } else {
        "/v1/key/rotate"
    };
    let rotated: KeyRotated = session.client.post(target)?;
    session.print(&rotated, |_| format!("{}\n", rotated.public_key))?;
    session.remark(
        "members change over as they hear of it, within seconds; sessions go on meanwhile (`meshctl events` says \
         key_in_use when it is done)",
    );
    if cut_external_peers {
        session.remark(
            "external peers have to be given the new key: `meshctl showconf --as-peer NAME`",
        );
    }
    Ok(())
}
