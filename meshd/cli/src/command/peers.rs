//! `meshctl peers`: the tunnels of this node.

use std::fmt::Display;

use mesh_proto::control::{Peer, Peers};

use super::Session;
use crate::failure::Failure;
use crate::table::{Table, clean};
use crate::units::{ago, bytes, rtt};

const COLUMNS: [&str; 9] = [
    "NAME",
    "ZONE",
    "STATE",
    "PATH",
    "ENDPOINT",
    "RTT",
    "HANDSHAKE",
    "RX",
    "TX",
];
const WIDE_COLUMNS: [&str; 2] = ["KEY", "ALLOWED-IPS"];

pub(super) fn run(session: &Session) -> Result<(), Failure> {
    let mut peers: Peers = session.client.get("/v1/peers")?;
    sort(&mut peers.peers);
    session.print(&peers, |wide| render(&peers, session.now, wide))?;
    for note in refused(&peers) {
        session.remark(&note);
    }
    Ok(())
}

fn sort(peers: &mut [Peer]) {
    peers.sort_by(|a, b| (&a.zone, &a.name, a.id).cmp(&(&b.zone, &b.name, b.id)));
}

fn render(peers: &Peers, now: i64, wide: bool) -> String {
    let mut header = COLUMNS.to_vec();
    if wide {
        header.extend(WIDE_COLUMNS);
    }
    let mut table = Table::new(&header);
    for peer in &peers.peers {
        let mut row = vec![
            peer.name.clone(),
            peer.zone.clone(),
            peer.state.to_string(),
            optional(peer.path_kind),
            optional(peer.endpoint),
            rtt(peer.rtt_ms),
            ago(peer.last_handshake.as_deref(), now),
            bytes(peer.rx_bytes),
            bytes(peer.tx_bytes),
        ];
        if wide {
            row.push(peer.public_key.to_string());
            row.push(join(&peer.allowed_ips));
        }
        table.row(row);
    }
    table.render()
}

fn refused(peers: &Peers) -> Vec<String> {
    peers
        .peers
        .iter()
        .flat_map(|peer| peer.refused.iter().map(move |refused| (peer, refused)))
        .map(|(peer, refused)| {
            clean(&format!(
                "note: {} of {} is not routed to it: {}",
                refused.prefix, peer.name, refused.reason
            ))
        })
        .collect()
}

/// Empty for none; tables print that as `-`.
pub(super) fn optional<T: Display>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// `a,b,c`: one word, so that columns can be split at spaces.
pub(super) fn join<T: Display>(values: &[T]) -> String {
    let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
    texts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;
    use crate::sample;

    #[test]
    fn tables_and_documents() {
        let peers = sample::peers();
        insta::assert_snapshot!("peers", render(&peers, sample::NOW, false));
        insta::assert_snapshot!("peers_wide", render(&peers, sample::NOW, true));
        let json = Format::Json.render(&peers, |_| String::new()).unwrap();
        insta::assert_snapshot!("peers_json", json);
        assert_eq!(
            refused(&peers),
            ["note: 10.0.0.0/8 of ber-1 is not routed to it: shorter than /16"]
        );
    }

    #[test]
    fn order_does_not_depend_on_the_daemon() {
        let sorted = sample::peers().peers;
        let mut peers = sorted.clone();
        peers.reverse();
        sort(&mut peers);
        assert_eq!(peers, sorted);
    }
}
