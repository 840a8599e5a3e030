//! Two network namespaces joined by a veth, each held by a thread that runs what it is given. They
//! disappear with their threads, also after a panic.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::Command;
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Uid, gettid};

type Task = Box<dyn FnOnce() + Send>;

/// A network namespace.
pub(in crate::engine) struct Namespace {
    tasks: Option<Sender<Task>>,
    thread: Option<JoinHandle<()>>,
    id: i32,
}

/// Two new namespaces with addresses 192.0.2.1 and 192.0.2.2, 2001:db8::1 and 2001:db8::2; none, with a word on it, without root.
pub(in crate::engine) fn namespaces() -> Option<(Namespace, Namespace)> {
    if !Uid::effective().is_root() {
        println!("SKIPPED: network namespaces need root");
        return None;
    }
    let (left, right) = (Namespace::new(), Namespace::new());
    left.ip(&format!(
        "link add left type veth peer name right netns {}",
        right.id
    ));
    for (namespace, interface, number) in [(&left, "left", 1), (&right, "right", 2)] {
        namespace.ip("link set lo up");
        namespace.ip(&format!("address add 192.0.2.{number}/24 dev {interface}"));
        namespace.ip(&format!(
            "address add 2001:db8::{number}/64 dev {interface} nodad"
        ));
        namespace.ip(&format!("link set {interface} up"));
    }
    Some((left, right))
}

impl Namespace {
    /// A namespace joined to this one by a veth whose ends are `here` and `there`, without addresses.
    pub(in crate::engine) fn neighbour(&self, here: &str, there: &str) -> Self {
        let other = Self::new();
        self.ip(&format!(
            "link add {here} type veth peer name {there} netns {}",
            other.id
        ));
        self.ip(&format!("link set {here} up"));
        other.ip("link set lo up");
        other.ip(&format!("link set {there} up"));
        other
    }

    fn new() -> Self {
        let (tasks, queue) = mpsc::channel::<Task>();
        let (ready, id) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            ready.send(gettid().as_raw()).unwrap();
            queue.into_iter().for_each(|task| task());
        });
        Self {
            tasks: Some(tasks),
            thread: Some(thread),
            id: id.recv().unwrap(),
        }
    }

    /// Runs `work` inside; its threads and processes stay inside.
    pub(in crate::engine) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let (sender, result) = mpsc::channel();
        let task: Task = Box::new(move || {
            let _ = sender.send(catch_unwind(AssertUnwindSafe(work)));
        });
        self.tasks.as_ref().unwrap().send(task).unwrap();
        result
            .recv()
            .unwrap()
            .unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Runs `ip` with these arguments.
    pub(in crate::engine) fn ip(&self, arguments: &str) {
        let arguments: Vec<_> = arguments.split(' ').collect();
        self.command("ip", &arguments);
    }

    /// Runs a program that must succeed; what it printed.
    pub(in crate::engine) fn command(&self, program: &str, arguments: &[&str]) -> String {
        let (success, output) = self.output(program, arguments);
        assert!(success, "{program} {arguments:?}: {output}");
        output
    }

    /// Runs a program that must fail; what it printed.
    pub(in crate::engine) fn failing_command(&self, program: &str, arguments: &[&str]) -> String {
        let (success, output) = self.output(program, arguments);
        assert!(!success, "{program} {arguments:?} succeeded: {output}");
        output
    }

    fn output(&self, program: &str, arguments: &[&str]) -> (bool, String) {
        let mut command = Command::new(program);
        command.args(arguments);
        let output = self.run(move || command.output().unwrap());
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        (output.status.success(), text)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.tasks.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
