//! A long transfer through the tunnel between two real daemons: every packet is checked byte by byte, at
//! four fifths of the rate the machine can do, over several rekeys. Measures; whoever calls it judges.

pub mod drops;
pub mod flow;
pub mod report;

use std::net::SocketAddrV4;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::lab::{Lab, LabError, Plan};
use flow::{Flow, Tally};
use report::Report;

/// Who sends and who receives.
const ENDS: [&str; 2] = ["a1", "b1"];
const PORT: u16 = 7100;
/// How long each rate is tried while the highest one is looked for.
const TRIAL: Duration = Duration::from_secs(3);
/// First rate tried, packets per second: more than two cores can do.
const START_RATE: f64 = 400_000.0;
/// From one rate tried to the next.
const STEP: f64 = 0.85;
/// Share of packets that may be lost at the highest rate, in the median of [`TRIALS`].
const TRIAL_LOSS: f64 = 0.000_1;
/// Trials of the rate that is taken: one alone may have been lucky.
const TRIALS: usize = 5;
/// Share of the highest rate that the long transfer runs at.
const SHARE: f64 = 0.8;
/// Handshakes are further apart than this; their time is rounded.
const JUMP_SECONDS: u64 = 10;
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
    for end in ENDS {
        lab.configure(end, &drops::settings())?;
    }
    lab.start_all()?;
    lab.wait_tunnels(&ENDS, TUNNEL_LIMIT)?;
    let maximum = highest_rate(&lab, note)?;
    let rate = maximum * SHARE;
    note(&format!(
        "highest rate {maximum:.0} packets/s; {} s at {rate:.0}",
        options.length.as_secs()
    ));
    // What the search has lost is told apart: the kernel's drops are counted once a second.
    thread::sleep(LOOK);
    let before = drops::read(&lab, &ENDS)?;
    let flow = start(&lab, rate)?;
    let begin = Instant::now();
    let mut handshakes = Vec::new();
    while begin.elapsed() < options.length {
        handshakes.extend(last_handshake(&lab)?);
        thread::sleep(LOOK.min(options.length.saturating_sub(begin.elapsed())));
    }
    handshakes.extend(last_handshake(&lab)?);
    let tally = flow.stop();
    let seconds = begin.elapsed().as_secs_f64();
    thread::sleep(LOOK);
    Ok(Report {
        seconds,
        highest_rate: maximum,
        rate: tally.sent as f64 / seconds,
        packet_bytes: flow::PACKET_BYTES,
        rekeys: jumps(&handshakes),
        tally,
        drops: drops::grown(&before, drops::read(&lab, &ENDS)?),
    })
}

/// The highest rate, packets per second, that arrives but for [`TRIAL_LOSS`] in the median of several trials.
fn highest_rate(lab: &Lab, note: &dyn Fn(&str)) -> Result<f64, LabError> {
    let mut rate = START_RATE;
    loop {
        let mut trials = Vec::new();
        // A rate that fails at once is not tried again.
        while trials.len() < TRIALS && trials.first().is_none_or(passes) {
            trials.push(attempt(lab, rate, note)?);
        }
        let passed = trials.iter().filter(|tally| passes(tally)).count();
        let mut sent: Vec<u64> = trials.iter().map(|tally| tally.sent).collect();
        sent.sort_unstable();
        let median = sent[sent.len() / 2] as f64 / TRIAL.as_secs_f64();
        if passed > TRIALS / 2 {
            return Ok(median);
        }
        // The sender itself may be slower than it was told to be.
        rate = rate.min(median) * STEP;
    }
}

fn attempt(lab: &Lab, rate: f64, note: &dyn Fn(&str)) -> Result<Tally, LabError> {
    let flow = start(lab, rate)?;
    thread::sleep(TRIAL);
    let tally = flow.stop();
    note(&format!(
        "{:.0} packets/s: {} of {} lost",
        tally.sent as f64 / TRIAL.as_secs_f64(),
        tally.lost(),
        tally.sent
    ));
    Ok(tally)
}

fn passes(tally: &Tally) -> bool {
    tally.sent > 0 && tally.lost() as f64 <= tally.sent as f64 * TRIAL_LOSS
}

fn start(lab: &Lab, rate: f64) -> Result<Flow, LabError> {
    let end = |name: &str| -> Result<_, LabError> {
        let address = lab.plan.node(name)?.address;
        Ok((lab.machine(name)?.entry(), SocketAddrV4::new(address, PORT)))
    };
    Flow::start(end(ENDS[0])?, end(ENDS[1])?, rate)
}

/// When the session of `a1` was agreed on, seconds since 1970; none if there is none.
fn last_handshake(lab: &Lab) -> Result<Option<u64>, LabError> {
    let text = lab
        .machine("a1")?
        .run("wg", &["show", "all", "latest-handshakes"])?;
    let word = text.split_whitespace().last();
    let seconds = word.and_then(|word| word.parse().ok());
    Ok(seconds.filter(|seconds| *seconds > 0))
}

/// How often the time of the last handshake moved on by more than [`JUMP_SECONDS`].
fn jumps(times: &[u64]) -> usize {
    let pairs = times.windows(2);
    pairs
        .filter(|pair| pair[1].saturating_sub(pair[0]) > JUMP_SECONDS)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_real_jumps_are_rekeys() {
        assert_eq!(jumps(&[]), 0);
        assert_eq!(jumps(&[1000, 1000, 1001, 1000, 1120, 1121, 1241]), 2);
    }

    #[test]
    fn a_trial_passes_with_next_to_no_loss() {
        let tally = |sent, received| Tally {
            sent,
            received,
            ..Tally::default()
        };
        assert!(passes(&tally(100_000, 99_990)));
        assert!(!passes(&tally(100_000, 99_989)));
        assert!(!passes(&tally(0, 0)));
    }
}
