//! Processes that live as long as the lab: started by one thread that never ends, killed on drop, and
//! killed by the kernel if the lab dies first.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

use super::error::LabError;

type Job = (Command, mpsc::Sender<io::Result<Child>>);

/// A process that runs until told otherwise. Dropping it kills it.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
}

impl Daemon {
    /// Starts `command`.
    ///
    /// # Errors
    /// If the program cannot be executed.
    pub fn spawn(name: &str, command: Command) -> Result<Self, LabError> {
        let child =
            spawn_from_lasting_thread(command).map_err(LabError::io(format!("start {name}")))?;
        Ok(Self {
            name: name.to_owned(),
            child,
        })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn signal(&self, signal: Signal) -> Result<(), LabError> {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("process ids fit an i32"));
        kill(pid, signal).map_err(LabError::io(format!("send {signal} to {}", self.name)))
    }

    /// The exit status, if it has ended.
    ///
    /// # Errors
    /// If it cannot be asked.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, LabError> {
        self.child
            .try_wait()
            .map_err(LabError::io(format!("wait for {}", self.name)))
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// If it still runs after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus, LabError> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if start.elapsed() > limit {
                return Err(LabError::Timeout {
                    what: format!("the end of {}", self.name),
                    seconds: limit.as_secs(),
                    last: format!("process {} runs", self.child.id()),
                });
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGTERM, then waits; SIGKILL when `limit` is over.
    ///
    /// # Errors
    /// If it did not end by itself.
    pub fn stop(mut self, limit: Duration) -> Result<ExitStatus, LabError> {
        self.signal(Signal::SIGTERM)?;
        self.wait(limit)
    }

    /// SIGKILL, and waits until the kernel has taken it apart.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
    }
}

/// The command with its output appended to a file, and nothing to read.
///
/// # Errors
/// If the file cannot be opened.
pub fn logged(mut command: Command, log: &Path) -> Result<Command, LabError> {
    let open = || {
        let mut options = OpenOptions::new();
        options.create(true).append(true).open(log)
    };
    let file = || open().map_err(LabError::file("open", log));
    command.stdin(Stdio::null()).stdout(file()?).stderr(file()?);
    Ok(command)
}

/// Lets the kernel kill the process when the thread that starts it ends, and lets it hear the signals
/// that this process may have blocked for itself.
pub fn die_with_parent(command: &mut Command) {
    // SAFETY: the closure runs in the forked child before exec and only makes system calls.
    unsafe {
        command.pre_exec(|| {
            SigSet::empty().thread_set_mask()?;
            Ok(set_pdeathsig(Signal::SIGKILL)?)
        });
    }
}

/// A parent-death signal is bound to the thread that forks, so lasting processes come from a thread
/// that lasts as long as this process.
fn spawn_from_lasting_thread(command: Command) -> io::Result<Child> {
    static JOBS: OnceLock<Mutex<mpsc::Sender<Job>>> = OnceLock::new();
    let jobs = JOBS.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<Job>();
        thread::spawn(move || {
            for (mut command, reply) in receiver {
                let _ = reply.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    let gone = || io::Error::other("the thread that starts processes is gone");
    let (reply, answer) = mpsc::channel();
    jobs.lock()
        .map_err(|_| gone())?
        .send((command, reply))
        .map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> Command {
        let mut command = Command::new("sleep");
        command.arg("1000");
        die_with_parent(&mut command);
        command
    }

    #[test]
    fn outlives_the_thread_that_asked_for_it_and_dies_on_drop() {
        let mut daemon = thread::spawn(|| Daemon::spawn("sleeper", sleeper()).unwrap())
            .join()
            .unwrap();
        assert!(daemon.wait(Duration::from_millis(100)).is_err());
        let pid = Pid::from_raw(daemon.pid() as i32);
        drop(daemon);
        assert!(kill(pid, None).is_err());
    }

    #[test]
    fn blocked_signals_are_not_inherited() {
        let daemon = thread::spawn(|| {
            SigSet::all().thread_block().unwrap();
            let child = sleeper().spawn().unwrap();
            Daemon {
                name: "sleeper".to_owned(),
                child,
            }
            .stop(Duration::from_secs(10))
        });
        assert!(!daemon.join().unwrap().unwrap().success());
    }

    #[test]
    fn stop_reports_the_status() {
        let daemon = Daemon::spawn("sleeper", sleeper()).unwrap();
        assert!(!daemon.stop(Duration::from_secs(10)).unwrap().success());
    }
}
