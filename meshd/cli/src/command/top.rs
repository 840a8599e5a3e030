//! `meshctl top`: the node as it lives: peers with their traffic, the worst first, and the last events.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use mesh_proto::control::{Events, Peer, PeerState, Peers, Status};

use super::Session;
use super::status::is_serious;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;
use crate::table::{Table, clean};
use crate::units::{bytes, rtt};

/// Lines for a terminal whose size is not known.
const DEFAULT_LINES: usize = 40;
/// Lines of problems and events.
const MAX_PROBLEMS: usize = 4;
const MAX_EVENTS: usize = 6;

/// Bytes received and sent by peer at one time.
type Totals = BTreeMap<String, (u64, u64)>;

/// One look at the daemon.
#[derive(Debug)]
struct Look {
    status: Status,
    peers: Peers,
    events: Events,
}

pub(super) fn run(session: &Session, seconds: u64, count: Option<u32>) -> Result<Exit, Failure> {
    let mut before: Option<(Instant, Totals)> = None;
    let mut number = 0;
    loop {
        let look = Look {
            status: session.client.get("/v1/status")?,
            peers: session.client.get("/v1/peers")?,
            events: session.client.get("/v1/events")?,
        };
        let now = Instant::now();
        let totals = totals(&look.peers);
        let passed = before
            .as_ref()
            .map(|(at, last)| (now.duration_since(*at).as_secs_f64(), last));
        output::clear();
        output::data(&render(&look, passed, lines()))?;
        before = Some((now, totals));
        number += 1;
        if output::is_closed() || count.is_some_and(|count| number >= count) {
            return Ok(Exit::Ok);
        }
        thread::sleep(Duration::from_secs(seconds));
    }
}

/// Lines of the terminal.
fn lines() -> usize {
    terminal_size::terminal_size().map_or(DEFAULT_LINES, |(_, height)| usize::from(height.0))
}

fn totals(peers: &Peers) -> Totals {
    let peers = peers.peers.iter();
    peers
        .map(|peer| (peer.name.clone(), (peer.rx_bytes, peer.tx_bytes)))
        .collect()
}

/// `passed`: seconds since the last look, and the totals then.
fn render(look: &Look, passed: Option<(f64, &Totals)>, lines: usize) -> String {
    let mut out = head(look);
    let mut rows: Vec<(&Peer, Option<(f64, f64)>)> = look
        .peers
        .peers
        .iter()
        .map(|peer| {
            (
                peer,
                passed.and_then(|(seconds, last)| rate(peer, seconds, last)),
            )
        })
        .collect();
    let traffic = |rate: &Option<(f64, f64)>| rate.map_or(0.0, |(rx, tx)| rx + tx);
    rows.sort_by(|(x, one), (y, two)| {
        let by_traffic = || traffic(two).total_cmp(&traffic(one));
        y.state.cmp(&x.state).then_with(by_traffic)
    });
    let tail = tail(look);
    let used = out.lines().count() + tail.lines().count() + 3;
    let room = lines.saturating_sub(used).max(3);
    let mut table = Table::new(&[
        "PEER", "ZONE", "STATE", "ENDPOINT", "RTT", "RX/s", "TX/s", "RX", "TX",
    ]);
    for (peer, rate) in rows.iter().take(room) {
        let speed =
            |value: Option<f64>| value.map_or_else(String::new, |value| bytes(value as u64));
        table.row([
            peer.name.clone(),
            peer.zone.clone(),
            peer.state.to_string(),
            peer.endpoint
                .map_or_else(String::new, |endpoint| endpoint.to_string()),
            rtt(peer.rtt_ms),
            speed(rate.map(|(rx, _)| rx)),
            speed(rate.map(|(_, tx)| tx)),
            bytes(peer.rx_bytes),
            bytes(peer.tx_bytes),
        ]);
    }
    out += "\n";
    out += &table.render();
    if let more @ 1.. = rows.len().saturating_sub(room) {
        out += &format!("... and {more} more\n");
    }
    out + &tail
}

fn head(look: &Look) -> String {
    let status = &look.status;
    let count = |state| {
        look.peers
            .peers
            .iter()
            .filter(|peer| peer.state == state)
            .count()
    };
    let connected = status
        .discovery
        .iter()
        .filter(|server| server.connected)
        .count();
    let mut out = format!(
        "{}  zone {}  {} backend  discovery {connected}/{}  members {}\npeers: {} up, {} suspect, {} connecting, {} down\n",
        clean(&status.node),
        clean(&status.zone),
        status.backend,
        status.discovery.len(),
        status.members,
        count(PeerState::Up),
        count(PeerState::Suspect),
        count(PeerState::Connecting),
        count(PeerState::Down),
    );
    for problem in status
        .problems
        .iter()
        .filter(|p| is_serious(p))
        .take(MAX_PROBLEMS)
    {
        out += &format!("! {}: {}\n", clean(&problem.code), clean(&problem.message));
    }
    out
}

fn tail(look: &Look) -> String {
    let events = &look.events.events;
    let shown = &events[events.len().saturating_sub(MAX_EVENTS)..];
    let mut out = String::from("\n");
    for event in shown {
        let peer = event.peer.as_deref().unwrap_or("");
        let time = event.time.get(11..19).unwrap_or(&event.time);
        out += &clean(&format!(
            "{time}  {}  {peer}  {}",
            event.kind, event.message
        ));
        out.push('\n');
    }
    out
}

/// Bytes a second received and sent; none for a new peer or one that began anew.
fn rate(peer: &Peer, seconds: f64, last: &Totals) -> Option<(f64, f64)> {
    let (rx, tx) = last.get(&peer.name)?;
    let per = |now: u64, then: u64| Some(now.checked_sub(then)? as f64 / seconds.max(0.001));
    Some((per(peer.rx_bytes, *rx)?, per(peer.tx_bytes, *tx)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn look() -> Look {
        Look {
            status: sample::degraded(),
            peers: sample::peers(),
            events: sample::events(),
        }
    }

    #[test]
    fn the_worst_is_first_and_rates_are_per_second() {
        let look = look();
        let mut last = totals(&look.peers);
        last.get_mut("ber-1").unwrap().0 -= 2048;
        last.get_mut("ber-2").unwrap().0 += 1;
        insta::assert_snapshot!("top", render(&look, Some((2.0, &last)), 24));
        insta::assert_snapshot!("top_first", render(&look, None, 24));
    }

    #[test]
    fn a_small_terminal_still_shows_peers() {
        let text = render(&look(), None, 5);
        assert!(
            text.contains("home-1") && text.contains("and 1 more"),
            "{text}"
        );
    }
}
