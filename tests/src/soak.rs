//! A long transfer through the tunnel between two real daemons: every packet is checked byte by byte, at
//! four fifths of the rate the machine can do, over several rekeys. Measures; whoever calls it judges.

pub mod flow;
pub mod report;

use std::collections::BTreeSet;
use std::net::SocketAddrV4;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::lab::{Lab, LabError, Plan, meshctl};
use flow::Flow;
use report::Report;

const PORT: u16 = 7100;
/// How long each rate is tried while the highest one is looked for.
const TRIAL: Duration = Duration::from_secs(3);
/// First rate tried, packets per second: more than two cores can do.
const START_RATE: f64 = 400_000.0;
/// From one rate tried to the next.
const STEP: f64 = 0.85;
/// Share of packets that may be lost at the highest rate.
const TRIAL_LOSS: f64 = 0.001;
/// Share of the highest rate that the long transfer runs at.
const SHARE: f64 = 0.8;
/// Between two looks at the age of the session.
const LOOK: Duration = Duration::from_secs(5);
const TUNNEL_LIMIT: Duration = Duration::from_secs(30);

/// What to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name of the lab.
    pub name: String,
    /// Length of the transfer.
    pub length: Duration,
}

/// Runs the transfer with the programs in `bin_dir`; says what it does to `note`.
///
/// # Errors
/// If the lab cannot be built or a daemon does not answer.
pub fn run(options: &Options, bin_dir: &Path, note: &dyn Fn(&str)) -> Result<Report, LabError> {
    let lab = Lab::build(&options.name, Plan::new(2, 1)?, bin_dir)?;
    lab.start_all()?;
    lab.wait_tunnels(&["a1", "b1"], TUNNEL_LIMIT)?;
    let maximum = highest_rate(&lab, note)?;
    let rate = maximum * SHARE;
    note(&format!(
        "highest rate {maximum:.0} packets/s; {} s at {rate:.0}",
        options.length.as_secs()
    ));
    let flow = start(&lab, rate)?;
    let begin = Instant::now();
    let mut handshakes = BTreeSet::new();
    while begin.elapsed() < options.length {
        handshakes.extend(last_handshake(&lab)?);
        thread::sleep(LOOK.min(options.length.saturating_sub(begin.elapsed())));
    }
    handshakes.extend(last_handshake(&lab)?);
    let tally = flow.stop();
    Ok(Report {
        seconds: begin.elapsed().as_secs_f64(),
        highest_rate: maximum,
        rate: tally.sent as f64 / begin.elapsed().as_secs_f64(),
        packet_bytes: flow::PACKET_BYTES,
        rekeys: handshakes.len().saturating_sub(1),
        tally,
    })
}

/// The highest rate, packets per second, that arrives but for [`TRIAL_LOSS`].
fn highest_rate(lab: &Lab, note: &dyn Fn(&str)) -> Result<f64, LabError> {
    let mut rate = START_RATE;
    loop {
        let flow = start(lab, rate)?;
        thread::sleep(TRIAL);
        let tally = flow.stop();
        let sent = tally.sent as f64 / TRIAL.as_secs_f64();
        note(&format!(
            "{sent:.0} packets/s: {} of {} lost",
            tally.lost(),
            tally.sent
        ));
        if tally.lost() as f64 <= tally.sent as f64 * TRIAL_LOSS {
            return Ok(sent);
        }
        // The sender itself may be slower than it was told to be.
        rate = rate.min(sent) * STEP;
    }
}

fn start(lab: &Lab, rate: f64) -> Result<Flow, LabError> {
    let end = |name: &str| -> Result<_, LabError> {
        let address = lab.plan.node(name)?.address;
        Ok((lab.machine(name)?.entry(), SocketAddrV4::new(address, PORT)))
    };
    Flow::start(end("a1")?, end("b1")?, rate)
}

/// When the sessions of `a1` were agreed on, as far as it says.
fn last_handshake(lab: &Lab) -> Result<Option<String>, LabError> {
    let peers = meshctl::peers(lab.machine("a1")?)?.peers;
    Ok(peers.into_iter().find_map(|peer| peer.last_handshake))
}
