//! The baseline: stock WireGuard on the same two nodes, its endpoints chosen as Talos KubeSpan chooses
//! them. A peer is down when its last handshake is older than 275 s; a ticker of 30 s looks, and moves a
//! peer that is down to its next endpoint; a new endpoint has 15 s to bring a handshake.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::net::{Direction, DualNet, Side, WIREGUARD_PORT, Way};
use super::pair::{Pair, direction_to};
use super::random::Random;
use super::report::Row;
use super::stream::INTERVAL;
use crate::lab::process::Daemon;
use crate::lab::{LabError, wait};

/// `KubeSpanDefaultPeerKeepalive`.
const KEEPALIVE_S: u64 = 25;
/// `DefaultPeerReconcileInterval`.
const TICK: Duration = Duration::from_secs(30);
/// `EndpointConnectionTimeout`.
const ENDPOINT_TIMEOUT: Duration = Duration::from_secs(15);
/// `PeerDownInterval`: 180 s + 5 s + 90 s.
const DOWN_AFTER: Duration = Duration::from_secs(275);
/// A handshake is this old at most while data flows (`REKEY_AFTER_TIME`): the strike comes within it.
const REKEY_MS: u64 = 120_000;
/// A stream that has not come back by then counts as this long.
const LIMIT: Duration = Duration::from_secs(600);
const START_LIMIT: Duration = Duration::from_secs(30);
/// A stream that flows this long has recovered.
const SETTLED: Duration = Duration::from_secs(1);

/// What the rule calls a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A new endpoint has had no handshake yet, and still has time.
    Unknown,
    Up,
    Down,
}

/// `None` for a handshake that never was.
fn judge(handshake_age: Option<Duration>, endpoint_age: Duration) -> State {
    let fresh = |limit: Duration| handshake_age.is_some_and(|age| age < limit);
    if endpoint_age > ENDPOINT_TIMEOUT {
        return if fresh(DOWN_AFTER) {
            State::Up
        } else {
            State::Down
        };
    }
    if fresh(endpoint_age) {
        State::Up
    } else {
        State::Unknown
    }
}

/// Runs the repetitions side by side, each in machines of its own: nearly all of their time is waiting.
/// Returns the row.
///
/// # Errors
/// If one of them cannot be built or does not form.
pub fn run(
    repetitions: usize,
    bin_dir: &Path,
    note: &(dyn Fn(&str) + Sync),
) -> Result<Row, LabError> {
    let row = Mutex::new(Row::new("blackhole-both (kubespan)", "wireguard-go"));
    thread::scope(|scope| {
        let runs: Vec<_> = (0..repetitions)
            .map(|number| {
                let row = &row;
                scope.spawn(move || {
                    let gaps = repetition(bin_dir, number)?;
                    let mut row = row.lock().expect("no other repetition panics");
                    for to in Side::ALL {
                        let gap = gaps[to as usize];
                        row.unrecovered += usize::from(gap >= LIMIT);
                        row.add(direction_to(to), gap.as_secs_f64() * 1000.0);
                    }
                    note(&format!("kubespan: {:.0} s", gaps[1].as_secs_f64()));
                    Ok(())
                })
            })
            .collect();
        let gone = || LabError::Unusable("a repetition of the baseline panicked".to_owned());
        runs.into_iter()
            .try_for_each(|run| run.join().map_err(|_| gone())?)
    })?;
    Ok(row.into_inner().expect("no repetition panics"))
}

/// One node: wireguard-go and the rule that picks the endpoint.
#[derive(Debug)]
struct Controller {
    side: Side,
    peer_key: String,
    endpoint: usize,
    since: Instant,
    next_tick: Instant,
    _wireguard: Daemon,
}

fn repetition(bin_dir: &Path, number: usize) -> Result<[Duration; 2], LabError> {
    let mut random = Random::new();
    // The clock alone may give two of them the same sequence.
    let moment = (0..=number).map(|_| random.below(REKEY_MS)).last();
    let net = DualNet::build(bin_dir)?;
    let mut nodes = controllers(&net, &mut random)?;
    let pair = Pair::between(&net, Side::ALL.map(inner))?;
    wait::until("stock WireGuard", START_LIMIT, || {
        let from = Instant::now().checked_sub(SETTLED);
        match from.is_some_and(|from| pair.flows_since(from)) {
            true => Ok(()),
            false => Err("the stream does not flow".to_owned()),
        }
    })?;
    let start = Instant::now() + Duration::from_millis(moment.unwrap_or_default());
    drive(&net, &mut nodes, start)?;
    let way = endpoint_in_use(&net, &nodes[0])?;
    net.black_hole(way, Direction::Both)?;
    let end = loop {
        let now = Instant::now();
        drive(&net, &mut nodes, now + Duration::from_millis(200))?;
        let recovered = now > start + SETTLED * 2
            && now
                .checked_sub(SETTLED)
                .is_some_and(|from| pair.flows_since(from));
        if recovered || now > start + LIMIT {
            break now;
        }
    };
    let gap = |to| {
        let arrivals = pair.to(to).arrivals();
        arrivals.longest_gap(start, end).saturating_sub(INTERVAL)
    };
    Ok(Side::ALL.map(gap))
}

/// Lets the tickers run until then.
fn drive(net: &DualNet, nodes: &mut [Controller; 2], until: Instant) -> Result<(), LabError> {
    loop {
        for node in nodes.iter_mut() {
            if Instant::now() >= node.next_tick {
                node.next_tick += TICK;
                node.tick(net)?;
            }
        }
        let due = nodes.iter().map(|node| node.next_tick).min();
        let wake = due.map_or(until, |due| due.min(until));
        thread::sleep(wake.saturating_duration_since(Instant::now()));
        if Instant::now() >= until {
            return Ok(());
        }
    }
}

fn controllers(net: &DualNet, random: &mut Random) -> Result<[Controller; 2], LabError> {
    let mut keys = Vec::new();
    for side in Side::ALL {
        let script = "wg genkey | tee /run/key | wg pubkey";
        keys.push(net.node(side).script(script)?.trim().to_owned());
    }
    let mut controller = |side: Side| -> Result<Controller, LabError> {
        let machine = net.node(side);
        let mut command = machine.command("wireguard-go");
        command
            .args(["-f", "wg0"])
            .env("WG_PROCESS_FOREGROUND", "1");
        command.stdin(std::process::Stdio::null());
        command
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        let wireguard = Daemon::spawn("wireguard-go", command)?;
        let (own, other) = (inner(side), inner(side.other()));
        let peer_key = keys[side.other() as usize].clone();
        wait::until("wireguard-go", START_LIMIT, || {
            let set = format!(
                "wg set wg0 listen-port {WIREGUARD_PORT} private-key /run/key peer {peer_key} \
                 persistent-keepalive {KEEPALIVE_S} allowed-ips {other}/32"
            );
            machine.script(&set).map_err(|error| error.to_string())
        })?;
        machine.script(&format!(
            "ip address add {own}/32 dev wg0\nip link set wg0 mtu 1420 up\nip route add {other} dev wg0\n"
        ))?;
        let now = Instant::now();
        let phase = Duration::from_millis(random.below(30_000));
        let mut controller = Controller {
            side,
            peer_key,
            endpoint: 0,
            since: now,
            next_tick: now + phase,
            _wireguard: wireguard,
        };
        controller.set_endpoint(net, 0)?;
        Ok(controller)
    };
    Ok([controller(Side::A)?, controller(Side::B)?])
}

/// Address inside the tunnel.
fn inner(side: Side) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, 0, side as u8 + 1)
}

/// The way the node's packets take now; WireGuard may have roamed.
fn endpoint_in_use(net: &DualNet, node: &Controller) -> Result<Way, LabError> {
    let text = net
        .node(node.side)
        .run("wg", &["show", "wg0", "endpoints"])?;
    let endpoint = text.split_whitespace().nth(1).unwrap_or_default();
    let address = endpoint
        .rsplit_once(':')
        .and_then(|(ip, _)| ip.parse().ok());
    address
        .and_then(Way::to)
        .ok_or_else(|| LabError::Unusable(format!("wg shows the endpoint {endpoint:?}")))
}

impl Controller {
    fn tick(&mut self, net: &DualNet) -> Result<(), LabError> {
        let text = net
            .node(self.side)
            .run("wg", &["show", "wg0", "latest-handshakes"])?;
        let seconds = text.split_whitespace().nth(1).unwrap_or_default().parse();
        let handshake = UNIX_EPOCH + Duration::from_secs(seconds.unwrap_or(0));
        let age = SystemTime::now()
            .duration_since(handshake)
            .unwrap_or_default();
        let age = (handshake != UNIX_EPOCH).then_some(age);
        if judge(age, self.since.elapsed()) == State::Down {
            self.set_endpoint(net, (self.endpoint + 1) % Way::ALL.len())?;
        }
        Ok(())
    }

    fn set_endpoint(&mut self, net: &DualNet, index: usize) -> Result<(), LabError> {
        let address = net.address(self.side.other(), Way::ALL[index]);
        let endpoint = format!("{address}:{WIREGUARD_PORT}");
        net.node(self.side).run(
            "wg",
            &["set", "wg0", "peer", &self.peer_key, "endpoint", &endpoint],
        )?;
        self.endpoint = index;
        self.since = Instant::now();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule() {
        let s = Duration::from_secs;
        let table = [
            // An endpoint in use for long: only the age of the handshake counts.
            (Some(s(10)), s(1000), State::Up),
            (Some(s(274)), s(1000), State::Up),
            (Some(s(275)), s(1000), State::Down),
            (None, s(16), State::Down),
            // A new one has 15 s.
            (Some(s(300)), s(10), State::Unknown),
            (None, s(15), State::Unknown),
            (Some(s(1)), s(10), State::Up),
            (Some(s(300)), s(16), State::Down),
        ];
        for (handshake, endpoint, expected) in table {
            assert_eq!(
                judge(handshake, endpoint),
                expected,
                "{handshake:?} {endpoint:?}"
            );
        }
    }
}
