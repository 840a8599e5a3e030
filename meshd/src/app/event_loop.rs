//! The event loop: the only place that owns the [`Mesh`]. Everything that happens becomes an input,
//! every action is carried out here or handed to the task that can. It decides nothing.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mesh_proto::{EnvelopeKind, Sequence};
use meshd_core::data_plane::EngineEvent;
use meshd_core::event::Level;
use meshd_core::input::DiscoveryEvent;
use meshd_core::network::NetworkState;
use meshd_core::{Action, Event, Input, Mesh, Now};
use tokio::sync::{mpsc, watch};

use super::disk::Disk;
use super::footing::Footing;
use super::leftovers::Leftovers;
use super::metrics::{Metrics, MetricsRequest};
use super::native_sockets::NativeSockets;
use super::queries::{Queries, Ready};
use super::service_manager::Watchdog;
use super::signals::{Signal, Signals};
use crate::control::{ControlRequest, EventLog};
use crate::discovery::DiscoveryClient;
use crate::engine::Engine;

/// Inputs taken from one source before the others get their turn.
const BATCH: usize = 64;
/// Between two looks at what only has to happen some time.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// Why the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// Remove everything of ours from the kernel (SIGTERM, SIGINT, a leave).
    RemoveAll,
    /// Keep what fails closed (SIGUSR2: restart or upgrade).
    KeepFailClosed,
    /// The engine's thread is gone: keep what fails closed, exit with an error, be restarted.
    EngineFailed,
    /// The task that reconciles the network is gone: likewise.
    NetworkFailed,
}

/// Where inputs come from.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) inputs: mpsc::Receiver<Input>,
    pub(super) engine: mpsc::Receiver<EngineEvent>,
    pub(super) discovery: mpsc::Receiver<(usize, DiscoveryEvent)>,
    pub(super) control: mpsc::Receiver<ControlRequest>,
    pub(super) ready: mpsc::Receiver<Ready>,
    pub(super) metrics: mpsc::Receiver<MetricsRequest>,
    pub(super) signals: Signals,
}

/// The loop's own parts and the things actions are carried out with.
#[derive(Debug)]
pub(super) struct EventLoop {
    pub(super) mesh: Mesh,
    pub(super) engine: Engine,
    pub(super) discovery: DiscoveryClient,
    pub(super) network: watch::Sender<Option<NetworkState>>,
    pub(super) leftovers: Leftovers,
    pub(super) disk: Disk,
    pub(super) queries: Queries,
    pub(super) metrics: Metrics,
    pub(super) footing: Footing,
    pub(super) events: EventLog,
    pub(super) native: NativeSockets,
    /// Counts changes of the host's network, for those who want to try again then.
    pub(super) network_changes: watch::Sender<u64>,
    /// Actions from before the loop began.
    pub(super) pending: Vec<Action>,
    /// Sequence of the leave that is being published.
    pub(super) leave: Option<Sequence>,
    pub(super) leave_published: bool,
    pub(super) stop: Option<Stop>,
}

/// The time now, for the core.
pub(super) fn now() -> Now {
    let unix = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let unix_ms = u64::try_from(unix.as_millis()).unwrap_or(u64::MAX);
    Now {
        instant: Instant::now(),
        unix_ms,
    }
}

impl EventLoop {
    /// Runs until told to stop.
    pub(super) async fn run(&mut self, sources: &mut Sources) -> Stop {
        let mut watchdog = Watchdog::new();
        let mut watchdog_due = interval(Watchdog::period());
        let mut housekeeping = interval(HOUSEKEEPING);
        loop {
            self.carry_out();
            self.queries.pings.answer(&mut self.mesh, now());
            if let Some(stop) = self.stop {
                return stop;
            }
            let due = self.mesh.poll_timeout().map(|(instant, _)| instant);
            let due = due.into_iter().chain(self.queries.pings.next_due()).min();
            tokio::select! {
                event = sources.engine.recv() => {
                    let Some(event) = event else { return Stop::EngineFailed };
                    self.input(Input::Engine(event));
                    for _ in 1..BATCH {
                        let Ok(event) = sources.engine.try_recv() else { break };
                        self.input(Input::Engine(event));
                    }
                }
                Some((server, event)) = sources.discovery.recv() => {
                    self.discovery_event(server, event);
                    for _ in 1..BATCH {
                        let Ok((server, event)) = sources.discovery.try_recv() else { break };
                        self.discovery_event(server, event);
                    }
                }
                Some(input) = sources.inputs.recv() => self.shell_input(input),
                Some(request) = sources.control.recv() => {
                    let shell = (&self.discovery, &self.engine);
                    self.queries.answer(request, &mut self.mesh, shell, now());
                }
                Some(ready) = sources.ready.recv() => self.queries.ready(ready, &mut self.mesh, now()),
                Some(request) = sources.metrics.recv() => {
                    self.metrics.answer(request, &self.mesh, &self.engine, now());
                }
                signal = sources.signals.recv() => self.signal(signal),
                () = sleep_until(due) => self.mesh.handle_timeout(now()),
                _ = watchdog_due.tick() => watchdog.check(self.engine.beat()),
                _ = housekeeping.tick() => self.let_go_of_leftovers(),
                () = self.network.closed() => return Stop::NetworkFailed,
            }
        }
    }

    fn input(&mut self, input: Input) {
        self.mesh.handle_input(input, now());
    }

    fn shell_input(&mut self, input: Input) {
        if let Input::Links(links) = &input
            && self.footing.changed(links)
        {
            // A new address or default route is the moment to try what failed before.
            self.discovery.retry_now();
            self.network_changes
                .send_modify(|count| *count = count.wrapping_add(1));
        }
        if let Input::Secret(secret) = &input {
            self.discovery.set_keys(secret.keys());
        }
        self.input(input);
    }

    fn discovery_event(&mut self, server: usize, event: DiscoveryEvent) {
        if let DiscoveryEvent::Published(sequence) = &event
            && self.leave == Some(*sequence)
        {
            self.leave_published = true;
        }
        if matches!(event, DiscoveryEvent::Synced) {
            self.leftovers.synced(Instant::now());
        }
        self.input(Input::Discovery { server, event });
    }

    fn signal(&mut self, signal: Signal) {
        match signal {
            Signal::Terminate => self.stop = Some(Stop::RemoveAll),
            Signal::Restart => self.stop = Some(Stop::KeepFailClosed),
        }
    }

    fn let_go_of_leftovers(&mut self) {
        if let Some(desired) = self.leftovers.release(Instant::now()) {
            self.network.send_replace(Some(desired));
        }
    }

    /// Carries out every action in order, and logs what happened.
    fn carry_out(&mut self) {
        for action in std::mem::take(&mut self.pending) {
            self.carry_out_one(action);
        }
        while let Some(action) = self.mesh.poll_action() {
            self.carry_out_one(action);
        }
        while let Some(event) = self.mesh.poll_event() {
            self.metrics.count(&event);
            self.events.note(&event, now());
            log(&event);
        }
    }

    fn carry_out_one(&mut self, action: Action) {
        match action {
            Action::Engine(command) => self.engine.send(command),
            Action::SendNative { to, bytes } => self.native.send(to, &bytes),
            Action::ApplyNetwork(state) => {
                self.engine.set_mtu(state.mtu);
                let state = self.leftovers.join(*state);
                self.network.send_replace(Some(state));
            }
            Action::Persist(state) => self.disk.persist(state),
            Action::Publish(envelope) => {
                if envelope.kind() == EnvelopeKind::Left {
                    self.leave = Some(envelope.sequence());
                }
                self.disk.publish(envelope);
            }
            Action::PublishReport(envelope) => self.disk.publish_report(envelope),
            Action::PublishRemovals(list) => self.disk.publish_removals(list),
            Action::KeyInUse(key) => self.queries.key.in_use(key),
            Action::Stop => {
                self.queries.left(self.leave_published);
                self.stop = Some(Stop::RemoveAll);
            }
        }
    }
}

fn log(event: &Event) {
    match event.level {
        Level::Debug => tracing::debug!(kind = event.kind, "{event}"),
        Level::Info => tracing::info!(kind = event.kind, "{event}"),
        Level::Warn => tracing::warn!(kind = event.kind, "{event}"),
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(instant) => tokio::time::sleep_until(instant.into()).await,
        None => std::future::pending().await,
    }
}

fn interval(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    interval
}
