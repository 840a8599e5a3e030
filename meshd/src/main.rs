//! The daemon's entry: arguments, runtime, exit code. Nothing else.

use std::process::ExitCode;

use clap::Parser as _;
use meshd::app::{self, StartError};
use meshd::args::{Args, Command};
use meshd::{config, priority};

fn main() -> ExitCode {
    let args = Args::parse();
    if args.keys {
        print(&config::keys_as_text());
        return ExitCode::SUCCESS;
    }
    if args.check {
        let report = config::check(&args.config);
        print(&report.to_string());
        return ExitCode::from(report.exit_code());
    }
    end_with_any_panic();
    // Before any thread starts, so that all have it. Refused, the daemon is as any other program.
    let _ = priority::raise();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start the runtime: {error}"), 1),
    };
    let outcome = runtime.block_on(async {
        match args.command {
            Some(Command::Cleanup) => cleanup(&args).await,
            None => app::run(&args.config, args.log.as_deref()).await,
        }
    });
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string(), error.exit_code()),
    }
}

/// A task or thread that panics would leave a daemon that only looks alive. Without core dump: there are
/// keys in memory. What fails closed stays, and the service manager starts again.
fn end_with_any_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        std::process::exit(1);
    }));
}

async fn cleanup(args: &Args) -> Result<(), StartError> {
    let removed = app::cleanup(&args.config).await?;
    for thing in &removed {
        print(&format!("removed {thing}"));
    }
    if removed.is_empty() {
        print("nothing to remove");
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this is the program's output")]
fn print(text: &str) {
    println!("{text}");
}

#[expect(
    clippy::print_stderr,
    reason = "the one message of a failed start, without log prefix"
)]
fn fail(message: &str, code: u8) -> ExitCode {
    eprintln!("meshd: {message}");
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::*;

    /// Runs itself again as the process that panics.
    #[test]
    fn a_panic_in_any_thread_ends_the_process() {
        const CHILD: &str = "MESHD_TEST_PANICS";
        if std::env::var_os(CHILD).is_some() {
            end_with_any_panic();
            let _ = std::thread::spawn(|| panic!("in a thread that nobody joins")).join();
            std::thread::sleep(Duration::from_secs(60));
            return;
        }
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::a_panic_in_any_thread_ends_the_process"])
            .env(CHILD, "1")
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(1));
    }
}
