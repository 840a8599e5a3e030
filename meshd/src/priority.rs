//! The daemon goes before ordinary programs: whoever fills the tunnel interface faster than it is read would
//! otherwise take the processor time that reading needs, and the kernel would drop packets of everybody. All
//! threads of it, or packets would starve what watches the paths.

use std::io;

/// Nine times the weight of an ordinary program (sched(7), nice(2)).
const NICE: libc::c_int = -10;

/// Raises the priority of the calling thread and of all that it starts from now on.
///
/// # Errors
/// If it may not: that takes `CAP_SYS_NICE`. Then it is as it was, which costs packets under overload only.
pub fn raise() -> io::Result<()> {
    // SAFETY: the call takes numbers only; 0 is the calling thread.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> libc::c_int {
        // SAFETY: the call takes numbers only; 0 is the calling thread.
        unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
    }

    #[test]
    fn only_the_calling_thread_is_raised() {
        let before = own();
        let inside = std::thread::spawn(|| raise().map(|()| own()))
            .join()
            .unwrap();
        match inside {
            Ok(nice) => assert_eq!(nice, NICE),
            Err(error) => println!("SKIPPED: the priority cannot be raised here: {error}"),
        }
        assert_eq!(own(), before);
    }
}
