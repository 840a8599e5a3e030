//! Pings, one, many at once, or without end, with a recognisable payload. Uses the system's `ping`, so
//! that what is measured is what any program on the machine would see.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::error::LabError;
use super::namespace::Namespace;
use super::process::Daemon;

/// 16 bytes that fill the payload, to be found again in captures.
pub type Marker = [u8; 16];

/// Pings that run at the same time.
const PARALLEL: usize = 24;
/// The same where to start so many programs takes the machine seconds.
const PARALLEL_IF_SLOW: usize = 8;

/// One ping to run.
#[derive(Debug, Clone)]
pub struct Ping<'a> {
    /// Where it runs.
    pub from: &'a Namespace,
    /// Where it goes.
    pub to: IpAddr,
    /// Packets to send.
    pub count: u32,
    /// Time between two.
    pub interval: Duration,
    /// Payload.
    pub marker: Option<Marker>,
}

/// Outcome of a ping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Score {
    /// Requests sent.
    pub sent: u32,
    /// Answers received.
    pub received: u32,
}

impl Score {
    /// True if something was sent and everything answered.
    #[must_use]
    pub fn perfect(self) -> bool {
        self.sent > 0 && self.sent == self.received
    }
}

impl<'a> Ping<'a> {
    /// Three packets, quickly.
    #[must_use]
    pub fn quick(from: &'a Namespace, to: IpAddr) -> Self {
        Self {
            from,
            to,
            count: 3,
            interval: Duration::from_millis(200),
            marker: None,
        }
    }

    /// Sends and waits for the answers, the last one at most 2 s.
    ///
    /// # Errors
    /// If ping cannot be run; no answer is not an error.
    pub fn run(&self) -> Result<Score, LabError> {
        let what = format!("ping {} from {}", self.to, self.from.name());
        // Once anything was answered, ping waits for the others no longer than this, whatever `-W` says.
        let mut command = self.command(self.interval * super::wait::slowness());
        let patience = 2 * super::wait::slowness();
        command.args(["-q", "-c", &self.count.to_string()]);
        command.args(["-W", &patience.to_string()]);
        let output = command.output().map_err(LabError::io(what.as_str()))?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        // The kernel refuses the address at once: nothing is sent, which is as good as lost.
        if stderr.contains("ping: connect: ") {
            return Ok(Score {
                sent: self.count,
                received: 0,
            });
        }
        parse_summary(&String::from_utf8_lossy(&output.stdout)).ok_or_else(|| LabError::Command {
            command: what,
            status: output.status.to_string(),
            stderr: stderr.trim().to_owned(),
        })
    }

    fn command(&self, interval: Duration) -> Command {
        let mut command = self.from.command("ping");
        command.args(["-n", "-i", &interval.as_secs_f64().to_string()]);
        if let Some(marker) = self.marker {
            let hex: String = marker.iter().map(|byte| format!("{byte:02x}")).collect();
            command.args(["-p", &hex]);
        }
        command.arg(self.to.to_string()).stdin(Stdio::null());
        command
    }
}

/// Runs many pings, some at the same time; results in the order of `pings`.
pub fn run_all(pings: &[Ping<'_>]) -> Vec<Result<Score, LabError>> {
    let next = Mutex::new(0);
    let results = Mutex::new(Vec::with_capacity(pings.len()));
    thread::scope(|scope| {
        let parallel = if super::wait::slowness() > 1 {
            PARALLEL_IF_SLOW
        } else {
            PARALLEL
        };
        for _ in 0..parallel.min(pings.len()) {
            scope.spawn(|| {
                while let Some((index, ping)) = take(&next, pings) {
                    let result = ping.run();
                    results
                        .lock()
                        .expect("no worker panics")
                        .push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("no worker panics");
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// A ping without end.
#[derive(Debug)]
pub struct Stream {
    daemon: Daemon,
    output: File,
    what: String,
}

impl Stream {
    /// Starts pinging; `count` is ignored.
    ///
    /// # Errors
    /// If ping cannot be run.
    pub fn start(ping: &Ping<'_>) -> Result<Self, LabError> {
        let what = format!("{} -> {}", ping.from.name(), ping.to);
        let output = tempfile::tempfile().map_err(LabError::io("make a temporary file"))?;
        let mut command = ping.command(ping.interval);
        let to_file = output
            .try_clone()
            .map_err(LabError::io("use a temporary file"))?;
        command
            .args(["-W", "2"])
            .stdout(to_file)
            .stderr(Stdio::null());
        Ok(Self {
            daemon: Daemon::spawn(&what, command)?,
            output,
            what,
        })
    }

    /// From where to where.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Ends it. The answer to the last packet may be on its way: that one is forgiven, and no other.
    ///
    /// # Errors
    /// If ping had already ended by itself.
    pub fn finish(mut self) -> Result<Score, LabError> {
        self.daemon.signal(Signal::SIGINT)?;
        self.daemon.wait(Duration::from_secs(10))?;
        let mut text = String::new();
        self.output
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.output.read_to_string(&mut text))
            .map_err(LabError::io("read what ping said"))?;
        let mut score = parse_summary(&text).ok_or_else(|| {
            LabError::Unusable(format!("ping {} said nothing: {text}", self.what))
        })?;
        if score.sent == score.received + 1 && last_answered(&text) == Some(score.received % 65_536)
        {
            score.sent -= 1;
        }
        Ok(score)
    }
}

/// The number of the last request that was answered, modulo 65,536; the first is 1.
fn last_answered(text: &str) -> Option<u32> {
    let answers = text.lines().filter(|line| line.contains(" bytes from "));
    let mut numbers = answers.filter_map(|line| {
        let (_, rest) = line.split_once("icmp_seq=")?;
        rest.split(' ').next()?.parse().ok()
    });
    numbers.next_back()
}

fn take<'p, 'n>(next: &Mutex<usize>, pings: &'p [Ping<'n>]) -> Option<(usize, &'p Ping<'n>)> {
    let mut next = next.lock().expect("no worker panics");
    let index = *next;
    *next += 1;
    Some((index, pings.get(index)?))
}

/// `3 packets transmitted, 3 received, 0% packet loss, time 401ms`
fn parse_summary(text: &str) -> Option<Score> {
    let line = text
        .lines()
        .find(|line| line.contains("packets transmitted"))?;
    let number = |part: &str| part.trim().split(' ').next()?.parse().ok();
    let mut parts = line.split(',');
    Some(Score {
        sent: number(parts.next()?)?,
        received: number(parts.next()?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_answer_is_told_from_one_that_is_not_here_yet() {
        let line =
            |number| format!("64 bytes from 10.0.0.1: icmp_seq={number} ttl=63 time=0.1 ms\n");
        let text = |numbers: &[u32]| {
            numbers
                .iter()
                .map(|number| line(*number))
                .collect::<String>()
        };
        assert_eq!(last_answered(&text(&[1, 2, 3])), Some(3));
        assert_eq!(last_answered(&text(&[1, 3, 4])), Some(4));
        assert_eq!(last_answered("PING 10.0.0.1 56(84) bytes of data.\n"), None);
    }

    #[test]
    fn summaries() {
        let score = |sent, received| Some(Score { sent, received });
        let table = [
            (
                "3 packets transmitted, 3 received, 0% packet loss, time 401ms",
                score(3, 3),
            ),
            (
                "9 packets transmitted, 0 received, +9 errors, 100% packet loss, time 1ms",
                score(9, 0),
            ),
            ("ping: connect: Network is unreachable", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse_summary(text), expected, "{text}");
        }
    }
}
