//! Start-up, in the order in which things can fail and in which nothing can leak: configuration, secret,
//! state, port and TUN, then routes that fail closed from the cache, then everything that talks.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use mesh_proto::record::BackendKind;
use meshd_core::data_plane::EngineEvent;
use meshd_core::input::DiscoveryEvent;
use meshd_core::{Input, Mesh, Settings};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::disk::Disk;
use super::event_loop::{EventLoop, Sources, now};
use super::failure::StartError;
use super::footing::Footing;
use super::found_networks::Found;
use super::foundation::{Foundation, fail_closed};
use super::metrics::{self, Metrics, MetricsRequest};
use super::native_sockets::NativeSockets;
use super::network_task::NetworkTask;
use super::queries::Queries;
use super::reload::{self, Hangup};
use super::signals::Signals;
use super::watchers::{self, Watchers};
use crate::config::{self, Config, RemoteListen, Zone};
use crate::control::{self, ControlRequest, ControlServer};
use crate::discovery::{self, ClientConfig, DiscoveryClient};
use crate::engine::{Engine, EngineError, remove_kernel_device};
use crate::kubernetes::NodeFacts;
use crate::linux::{Claim, Netlink, Ownership};
use crate::state::AddressCache;

/// Inputs that may wait from each source before the source has to.
const QUEUE: usize = 1024;
/// Engine events that may wait; the engine drops what it may drop when they do not fit.
const ENGINE_QUEUE: usize = 8192;
/// Scrapes that may wait.
const METRICS_QUEUE: usize = 4;

/// A daemon that has started.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) event_loop: EventLoop,
    pub(super) sources: Sources,
    pub(super) network_task: JoinHandle<Netlink>,
    pub(super) claim: Claim,
    pub(super) control: ControlServer,
    pub(super) background: Vec<JoinHandle<()>>,
}

/// Starts everything. What can fail comes before what changes the host's network.
pub(super) async fn start(path: &Path, config: Config) -> Result<Running, StartError> {
    let found = Found::at_start(&config);
    let settings = found.0.settings(&config);
    let mut foundation = Foundation::lay(&config)?;
    let (signals, hangup) = listen().map_err(StartError::Signals)?;
    let (control, control_requests) = start_control(&config, &foundation)?;
    let metrics = start_metrics(&config).await?;
    let cache = Arc::new(foundation.state.address_cache());
    let client = client_config(&config, &foundation, Arc::clone(&cache))?;
    let netlink = Netlink::open(Ownership::of(&settings)).await?;
    let (changes, reconciles) = (netlink.monitor()?, netlink.reconciles());
    let mut mesh = foundation.mesh(settings.clone())?;
    let footing = first_inputs(&mut mesh, &config, &found, &netlink).await?;
    let (engine, engine_receiver) = start_engine(&settings, &foundation, &config)?;
    let (network, leftovers, pending) = fail_closed(&mut mesh, &engine, &netlink).await;

    let (inputs, input_receiver) = mpsc::channel(QUEUE);
    let (discovery, discovery_receiver) = start_discovery(client);
    let network_task = NetworkTask::spawn(netlink, network.subscribe(), changes, inputs.clone());
    let (queries, ready) = Queries::new(foundation.state.key_files());
    let (network_changes, changes_seen) = watch::channel(0);
    let addresses = watchers::discovery_addresses(discovery.addresses(), inputs.clone());
    let watching = Watchers::start(&config, cache, inputs.clone(), changes_seen, found);
    let disk = Disk::start(foundation.state, discovery.clone(), inputs.clone());
    let current = (config, foundation.secret);
    let reloading = reload::listen(path.to_owned(), current, watching, inputs.clone(), hangup);

    let event_loop = EventLoop {
        native: start_native(&mut mesh, &settings, &inputs),
        mesh,
        engine,
        disk,
        discovery,
        network,
        leftovers,
        queries,
        metrics: Metrics::new(reconciles),
        events: control.events(),
        pending,
        footing,
        network_changes,
        leave: None,
        leave_published: false,
        stop: None,
    };
    Ok(Running {
        event_loop,
        sources: Sources {
            inputs: input_receiver,
            engine: engine_receiver,
            discovery: discovery_receiver,
            control: control_requests,
            ready,
            metrics,
            signals,
        },
        network_task,
        claim: foundation.claim,
        control,
        background: vec![addresses, reloading],
    })
}

fn start_discovery(
    config: ClientConfig,
) -> (DiscoveryClient, mpsc::Receiver<(usize, DiscoveryEvent)>) {
    let (events, receiver) = mpsc::channel(QUEUE);
    (discovery::spawn(config, events), receiver)
}

fn start_engine(
    settings: &Settings,
    foundation: &Foundation,
    config: &Config,
) -> Result<(Engine, mpsc::Receiver<EngineEvent>), EngineError> {
    let (events, receiver) = mpsc::channel(ENGINE_QUEUE);
    let engine_config = foundation.engine_config(config);
    let engine = match settings.wireguard.backend {
        BackendKind::Kernel => {
            let engine = Engine::start_kernel(engine_config, foundation.adopts, events)?;
            foundation.remember_device(config);
            engine
        }
        BackendKind::Userspace => {
            remove_kernel_device(&engine_config);
            Engine::start(engine_config, events)?
        }
    };
    Ok((engine, receiver))
}

/// The sockets that members of the own zone are checked with; the mesh does so if there are any.
fn start_native(
    mesh: &mut Mesh,
    settings: &Settings,
    inputs: &mpsc::Sender<Input>,
) -> NativeSockets {
    let sockets = NativeSockets::open(settings.wireguard.listen_port, inputs);
    if sockets.any() {
        mesh.handle_input(Input::NativeChecks, now());
    }
    sockets
}

fn listen() -> std::io::Result<(Signals, Hangup)> {
    Ok((Signals::listen()?, Hangup::listen()?))
}

/// What the mesh has to know before its first routes: the host's own prefixes, and the zone that a zone
/// file says.
async fn first_inputs(
    mesh: &mut Mesh,
    config: &Config,
    (_, facts): &(Found, Option<NodeFacts>),
    netlink: &Netlink,
) -> Result<Footing, StartError> {
    let links = netlink.read_links().await?;
    let footing = Footing::of(&links);
    mesh.handle_input(Input::Links(links), now());
    if let Zone::File(path) = &config.node.zone
        && let Ok(zone) = config::read_zone_file(path)
    {
        mesh.handle_input(Input::ZoneFile(zone), now());
    }
    if let (Zone::Kubernetes, Some(facts)) = (&config.node.zone, facts) {
        mesh.handle_input(Input::ZoneFile(facts.zone.clone()), now());
    }
    Ok(footing)
}

fn client_config(
    config: &Config,
    foundation: &Foundation,
    cache: Arc<AddressCache>,
) -> Result<ClientConfig, StartError> {
    let ca = config
        .discovery
        .ca_file
        .as_deref()
        .map(config::read_ca)
        .transpose();
    Ok(ClientConfig {
        servers: config.discovery.urls.clone(),
        keys: Arc::new(foundation.secret.keys()),
        ca: ca.map_err(StartError::Ca)?,
        cache,
        first_answer: discovery::FIRST_ANSWER,
    })
}

/// The control socket, and with `remote` the control API for readers inside the mesh.
fn start_control(
    config: &Config,
    foundation: &Foundation,
) -> Result<(ControlServer, mpsc::Receiver<ControlRequest>), StartError> {
    let (requests, receiver) = mpsc::channel(control::MAX_IN_FLIGHT);
    let control = control::serve(&config.control_socket, requests)?;
    let Some(remote) = &config.remote else {
        return Ok((control, receiver));
    };
    let token = config::load_token(&remote.token_file).map_err(StartError::Token)?;
    let address = match remote.listen {
        RemoteListen::Mesh(port) => SocketAddr::from((foundation.mesh_address(), port)),
        RemoteListen::Loopback(address) => address,
    };
    control::bind_remote(address)
        .and_then(|listener| control.offer_reading(listener, Arc::new(token)))
        .map_err(|source| StartError::Remote { address, source })?;
    tracing::info!(%address, "remote control, for reading only");
    Ok((control, receiver))
}

async fn start_metrics(config: &Config) -> Result<mpsc::Receiver<MetricsRequest>, StartError> {
    let (requests, receiver) = mpsc::channel(METRICS_QUEUE);
    if let Some(address) = config.metrics_listen {
        let served = metrics::serve(address, requests).await;
        served.map_err(|source| StartError::Metrics { address, source })?;
    }
    Ok(receiver)
}
