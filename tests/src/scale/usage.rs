//! Memory and processor time of processes, from /proc.

use std::time::Duration;

use crate::lab::LabError;

/// `USER_HZ`, which is 100 on every architecture Linux's /proc is read on today.
const TICKS_PER_SECOND: f64 = 100.0;

/// What some processes use together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    processes: usize,
    cpu_seconds: f64,
    rss_bytes: u64,
}

impl Usage {
    /// Reads these processes.
    ///
    /// # Errors
    /// If one is gone.
    pub fn of(pids: &[u32]) -> Result<Self, LabError> {
        let mut usage = Self {
            processes: pids.len(),
            cpu_seconds: 0.0,
            rss_bytes: 0,
        };
        for pid in pids {
            let stat = read(*pid, "stat")?;
            let status = read(*pid, "status")?;
            let (Some(ticks), Some(rss)) = (cpu_ticks(&stat), rss_bytes(&status)) else {
                return Err(LabError::Unusable(format!("process {pid} has ended")));
            };
            usage.cpu_seconds += ticks / TICKS_PER_SECOND;
            usage.rss_bytes += rss;
        }
        Ok(usage)
    }

    /// Mean resident memory of a process, bytes.
    #[must_use]
    pub fn mean_rss(&self) -> u64 {
        self.rss_bytes / u64::try_from(self.processes.max(1)).unwrap_or(1)
    }

    /// Processor time all have used since `before`, seconds.
    #[must_use]
    pub fn cpu_since(&self, before: &Self) -> f64 {
        self.cpu_seconds - before.cpu_seconds
    }

    /// Mean share of one core that a process has used since `before`, `elapsed` ago.
    #[must_use]
    pub fn share_since(&self, before: &Self, elapsed: Duration) -> f64 {
        let seconds = self.cpu_seconds - before.cpu_seconds;
        let share = seconds
            / elapsed.as_secs_f64()
            / f64::from(u32::try_from(self.processes.max(1)).unwrap_or(1));
        (share * 1e5).round() / 1e5
    }
}

fn read(pid: u32, file: &str) -> Result<String, LabError> {
    let path = format!("/proc/{pid}/{file}");
    std::fs::read_to_string(&path).map_err(LabError::io(format!("read {path}")))
}

/// Fields 14 and 15 of proc_pid_stat(5), counted behind the name, which may contain anything.
fn cpu_ticks(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn rss_bytes(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_itself() {
        let usage = Usage::of(&[std::process::id()]).unwrap();
        assert!(usage.mean_rss() > 100_000, "{usage:?}");
        assert!(Usage::of(&[u32::MAX]).is_err());
    }

    #[test]
    fn fields() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 20 30 0 0";
        assert_eq!(cpu_ticks(stat), Some(50.0));
        assert_eq!(rss_bytes("Name:\tx\nVmRSS:\t     8 kB\n"), Some(8192));
        let usage = |cpu_seconds| Usage {
            processes: 2,
            cpu_seconds,
            rss_bytes: 300,
        };
        let share = usage(3.0).share_since(&usage(1.0), Duration::from_secs(10));
        assert!((share - 0.1).abs() < 1e-9);
        assert_eq!(usage(0.0).mean_rss(), 150);
    }
}
