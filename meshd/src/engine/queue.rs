//! The way into the worker thread: commands and questions, with a descriptor to wake it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};

use meshd_core::data_plane::EngineCommand;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::counters::{EngineCounters, count};
use super::snapshot::DeviceSnapshot;

/// Above this many waiting messages, commands that only send packets are dropped.
const MAX_WAITING: usize = 8192;

/// What the worker is told.
#[derive(Debug)]
pub(super) enum Message {
    /// From the core.
    Command(EngineCommand),
    /// From the wg(8) socket: describe the device.
    Snapshot(SyncSender<DeviceSnapshot>),
    /// The interface's MTU changed, bytes.
    Mtu(u32),
    /// End the thread.
    Stop,
    /// End the thread; a device of the kernel stays.
    Leave,
}

/// The sending half.
#[derive(Debug, Clone)]
pub(super) struct MessageSender {
    messages: Sender<Message>,
    wake: Arc<EventFd>,
    waiting: Arc<AtomicUsize>,
    counters: Arc<EngineCounters>,
}

/// The worker's half.
#[derive(Debug)]
pub(super) struct Inbox {
    messages: Receiver<Message>,
    wake: Arc<EventFd>,
    waiting: Arc<AtomicUsize>,
}

/// A new queue.
pub(super) fn channel(counters: Arc<EngineCounters>) -> io::Result<(MessageSender, Inbox)> {
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    let wake = Arc::new(EventFd::from_flags(flags)?);
    let waiting = Arc::new(AtomicUsize::new(0));
    let (messages, receiver) = mpsc::channel();
    let inbox = Inbox {
        messages: receiver,
        wake: Arc::clone(&wake),
        waiting: Arc::clone(&waiting),
    };
    let sender = MessageSender {
        messages,
        wake,
        waiting,
        counters,
    };
    Ok((sender, inbox))
}

impl MessageSender {
    /// Queues a message and wakes the worker. False if it was dropped: the queue is too long for
    /// something that may get lost, or the worker is gone.
    pub(super) fn send(&self, message: Message) -> bool {
        let waiting = self.waiting.load(Ordering::Relaxed);
        if waiting >= MAX_WAITING && may_get_lost(&message) {
            count(&self.counters.drop_commands);
            return false;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let sent = self.messages.send(message).is_ok();
        // A full counter means the worker is awake already.
        let _ = self.wake.write(1);
        sent
    }
}

/// Packets may get lost on any network, state may not.
const fn may_get_lost(message: &Message) -> bool {
    matches!(
        message,
        Message::Command(
            EngineCommand::Send { .. }
                | EngineCommand::SendDatagram { .. }
                | EngineCommand::Handshake { .. }
                | EngineCommand::Duplicate { .. }
                | EngineCommand::ReadSessions
        ) | Message::Snapshot(_)
    )
}

impl Inbox {
    /// Takes the next message.
    pub(super) fn next(&self) -> Option<Message> {
        let message = self.messages.try_recv().ok()?;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        Some(message)
    }

    /// Takes back the wake-up; to be called before the messages are read.
    pub(super) fn clear_wake(&self) {
        // Fails only if there was no wake-up.
        let _ = self.wake.read();
    }
}

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_packets_are_dropped_when_the_worker_is_behind() {
        let counters = Arc::new(EngineCounters::default());
        let (sender, inbox) = channel(Arc::clone(&counters)).unwrap();
        for _ in 0..MAX_WAITING {
            assert!(sender.send(Message::Command(EngineCommand::ReadSessions)));
        }
        assert!(!sender.send(Message::Command(EngineCommand::ReadSessions)));
        assert_eq!(counters.snapshot().drop_commands, 1);
        assert!(sender.send(Message::Stop));
        let mut last = None;
        while let Some(message) = inbox.next() {
            last = Some(message);
        }
        assert!(matches!(last, Some(Message::Stop)));
        assert!(sender.send(Message::Command(EngineCommand::ReadSessions)));
    }
}
