//! Answers to `meshctl`: each request becomes one question to the mesh. Only `topology` waits for
//! something from outside (reports), so it comes back as a message.

use mesh_proto::control::{CONTROL_VERSION, Left, OffloadStatus, Topology};
use meshd_core::mesh::{FetchedReport, RemovalRefusal};
use meshd_core::{Input, Mesh, Now};
use tokio::sync::{mpsc, oneshot};

use super::key_rotation::{KeyRotation, ReadyKey};
use super::pings::Pings;
use crate::control::{ControlRequest, Refusal, Reply};
use crate::discovery::DiscoveryClient;
use crate::engine::Engine;
use crate::state::KeyFiles;

/// A topology request whose reports have arrived.
#[derive(Debug)]
pub(super) struct ReadyTopology {
    pub(super) reports: Vec<FetchedReport>,
    pub(super) reply: Reply<Topology>,
}

/// What a request waited for is there.
#[derive(Debug)]
pub(super) enum Ready {
    Topology(ReadyTopology),
    Key(ReadyKey),
}

/// Answers requests from the state of the mesh.
#[derive(Debug)]
pub(super) struct Queries {
    ready: mpsc::Sender<Ready>,
    /// Clients that wait for a leave to be published.
    leaving: Vec<Reply<Left>>,
    /// Clients that wait for a peer's answer.
    pub(super) pings: Pings,
    /// Replaces the WireGuard key.
    pub(super) key: KeyRotation,
}

impl Queries {
    /// What becomes ready comes out of the receiver.
    pub(super) fn new(files: KeyFiles) -> (Self, mpsc::Receiver<Ready>) {
        let (ready, receiver) = mpsc::channel(crate::control::MAX_IN_FLIGHT);
        (
            Self {
                key: KeyRotation::new(files, ready.clone()),
                ready,
                leaving: Vec::new(),
                pings: Pings::default(),
            },
            receiver,
        )
    }

    /// Answers, or starts what the answer needs. A client that went away is no error.
    pub(super) fn answer(
        &mut self,
        request: ControlRequest,
        mesh: &mut Mesh,
        (discovery, engine): (&DiscoveryClient, &Engine),
        now: Now,
    ) {
        match request {
            ControlRequest::Status(reply) => {
                let mut status = mesh.status(now);
                status.offloads = Some(offload_status(engine));
                send(reply, Ok(status));
            }
            ControlRequest::Peers(reply) => send(reply, Ok(mesh.peers(now))),
            ControlRequest::Members(reply) => send(reply, Ok(mesh.members(now))),
            ControlRequest::Paths { name, reply } => {
                send(reply, mesh.paths(&name, now).ok_or_else(|| no_peer(&name)));
            }
            ControlRequest::Ping { name, reply } => self.pings.start(&name, reply, mesh, now),
            ControlRequest::Topology(reply) => self.fetch_reports(reply, mesh, discovery),
            ControlRequest::Routes(reply) => send(reply, Ok(mesh.routes())),
            ControlRequest::Explain { address, reply } => {
                send(reply, Ok(mesh.explain(address, now)));
            }
            ControlRequest::ShowConf { as_peer, reply } => {
                let name = as_peer.as_deref();
                let missing = || no_external_peer(name.unwrap_or_default());
                send(reply, mesh.showconf(name, now).ok_or_else(missing));
            }
            ControlRequest::Removals(reply) => send(reply, Ok(mesh.removed_members())),
            ControlRequest::Remove { list, reply } => {
                let taken = mesh.remove_members(&list, now);
                let refused =
                    |error: RemovalRefusal| Refusal::bad_request(format!("not taken: {error}"));
                send(reply, taken.map_err(refused));
            }
            ControlRequest::RotateKey {
                external_too,
                reply,
            } => self.key.begin(mesh, external_too, reply),
            ControlRequest::Leave(reply) => {
                self.leaving.push(reply);
                mesh.handle_input(Input::Leave, now);
            }
        }
    }

    /// Tells the clients that asked for a leave how it went.
    pub(super) fn left(&mut self, published: bool) {
        for reply in self.leaving.drain(..) {
            send(
                reply,
                Ok(Left {
                    version: CONTROL_VERSION,
                    published,
                }),
            );
        }
    }

    fn fetch_reports(&self, reply: Reply<Topology>, mesh: &Mesh, discovery: &DiscoveryClient) {
        let (discovery, members) = (discovery.clone(), mesh.report_sources());
        let ready = self.ready.clone();
        tokio::spawn(async move {
            let fetched = discovery.fetch_reports(members).await;
            let opened = |report: crate::discovery::FetchedReport| FetchedReport {
                envelope: report.envelope,
                age_s: report.age_s,
            };
            let reports = fetched.into_iter().map(opened).collect();
            // The event loop is gone only when the daemon stops; the client is told by the drop.
            let topology = ReadyTopology { reports, reply };
            let _ = ready.send(Ready::Topology(topology)).await;
        });
    }

    /// What a request waited for is there.
    pub(super) fn ready(&mut self, ready: Ready, mesh: &mut Mesh, now: Now) {
        match ready {
            Ready::Topology(topology) => topology.answer(mesh, now),
            Ready::Key(key) => self.key.hand_over(key, mesh, now),
        }
    }
}

impl ReadyTopology {
    fn answer(self, mesh: &Mesh, now: Now) {
        send(self.reply, Ok(mesh.topology(&self.reports, now)));
    }
}

pub(super) fn send<T>(reply: oneshot::Sender<Result<T, Refusal>>, answer: Result<T, Refusal>) {
    // A client that hung up does not want the answer.
    let _ = reply.send(answer);
}

pub(super) fn no_peer(name: &str) -> Refusal {
    Refusal::not_found(format!(
        "no peer is called {name:?}; `meshctl peers` lists them (nodes of the own zone are no peers)"
    ))
}

fn offload_status(engine: &Engine) -> OffloadStatus {
    let names = |offloads: Vec<&'static str>| offloads.into_iter().map(str::to_owned).collect();
    OffloadStatus {
        in_use: names(engine.offloads().names()),
        missing: names(engine.missing_offloads().names()),
    }
}

fn no_external_peer(name: &str) -> Refusal {
    Refusal::not_found(format!(
        "no entry of `externalPeers` is called {name:?}; add it to the configuration and reload"
    ))
}
