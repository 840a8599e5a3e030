//! Processor time: of the whole machine, and of single processes.

use std::fs;

/// Ticks in a second, the same on every Linux that user space sees.
const TICKS: f64 = 100.0;

/// Processor time used so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CpuTime {
    /// Seconds of all processors, of everything that runs here.
    pub(super) machine: f64,
    /// Seconds of the processes asked for.
    pub(super) processes: f64,
}

impl CpuTime {
    /// Reads both. What cannot be read counts as nothing.
    pub(super) fn read(pids: &[u32]) -> Self {
        let machine = fs::read_to_string("/proc/stat").unwrap_or_default();
        let processes = pids.iter().map(|pid| {
            let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            process_ticks(&text)
        });
        Self {
            machine: machine_ticks(&machine) / TICKS,
            processes: processes.sum::<f64>() / TICKS,
        }
    }

    /// What was used since `earlier`.
    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            machine: self.machine - earlier.machine,
            processes: self.processes - earlier.processes,
        }
    }
}

/// Ticks not idle in /proc/stat: user, nice, system, irq, softirq.
fn machine_ticks(text: &str) -> f64 {
    let line = text.lines().next().unwrap_or_default();
    let fields: Vec<f64> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    [0, 1, 2, 5, 6]
        .iter()
        .filter_map(|at| fields.get(*at))
        .sum()
}

/// User and system ticks in /proc/PID/stat. The name before them may hold anything.
fn process_ticks(text: &str) -> f64 {
    let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    rest.split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum()
}

/// Resident memory of a process, MiB.
pub(super) fn resident(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_those_of_proc() {
        let stat = "cpu  100 1 20 5000 7 3 4 0 0 0\ncpu0 1 1 1 1\n";
        assert_eq!(machine_ticks(stat), 128.0);
        let process = "42 (a ) b) S 1 42 42 0 -1 4194560 1 2 3 4 250 50 0 0 20 0 4 0 100 1 2\n";
        assert_eq!(process_ticks(process), 300.0);
        assert_eq!(process_ticks("gone"), 0.0);
        assert!(resident(std::process::id()) > 0.5);
    }
}
