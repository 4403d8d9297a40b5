//! The life of the process: checks, then this host's stay in its network or in each of several, until a
//! signal.

use std::sync::{Arc, Mutex};

use anyhow::Context;
use futures::future::try_join_all;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::{Instrument as _, Span};
use twill_core::ids::NetworkName;
use twill_net::Kernel;
use twill_net::capabilities::Capabilities;
use twill_net::firewall::Programs;
use twill_net::rights;
use twill_store::Etcd;

use crate::access;
use crate::bootstrap::Agent;
use crate::departed;
use crate::doctor::Doctor;
use crate::failure::Failure;
use crate::flags::{Flags, Parsed};
use crate::hook::Hook;
use crate::host::Host;
use crate::http::Servers;
use crate::identity::Identity;
use crate::memory::Memory;
use crate::metrics::Counted;
use crate::patience::tell_systemd;
use crate::publish;
use crate::shelf::Shelf;
use crate::status::{Board, Boards};
use crate::stay::{died, stay};
use crate::trace::Tracer;

/// etcd, and how often it was asked for what.
type Asked = Counted<Etcd>;

/// Runs until a signal; an error means that the start was refused.
pub(crate) fn run(parsed: Parsed) -> Result<(), Failure> {
    if !parsed.inherited.is_empty() {
        tracing::warn!(
            "using {}: rename them to TWILLD_* when flanneld is gone",
            parsed.inherited.join(", ")
        );
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let done = runtime.block_on(supervise(parsed.flags));
    // A child of iptables that hangs must not hold up the end.
    runtime.shutdown_background();
    done
}

async fn supervise(flags: Flags) -> Result<(), Failure> {
    let stop = stop_on_signal()?;
    let networks = flags.of_networks();
    let (mut hooks, mut running) = (Vec::new(), Vec::new());
    for (name, flags) in &networks {
        let hook = Hook::new();
        running.push(hook.start(name.as_ref(), flags)?);
        hooks.push(hook);
    }
    // Before anything that has a thread of its own, and before anything from outside is read.
    rights::shed()?;
    let names: Vec<_> = networks.iter().map(|(name, _flags)| name.clone()).collect();
    let boards = Boards::of(&names);
    let host = Arc::new(open(&flags, &boards).await?);
    let boards_of = boards.all().iter().map(|(_name, board)| board);
    let mut agents = Vec::new();
    for ((network, board), hook) in networks.into_iter().zip(boards_of).zip(hooks) {
        agents.push(agent(&host, network, (board, hook))?);
    }
    let kernel = Kernel::open()?;
    for agent in &agents {
        agent.recall_use().await;
    }
    departed::clear(&flags, (&kernel, &host.programs)).await;
    let doctor = Doctor::new(&boards, &kernel);
    let tracer = Tracer::new(&boards, &kernel, flags.healthz_port);
    let servers = Servers::start(&flags, &boards, (doctor, tracer)).await?;
    let wall = tokio::spawn(host.wall.clone().keep(flags.firewall.iptables_resync, boards));
    let stays = agents.iter().map(|agent| {
        let stays = stay(agent, stop.clone());
        let name = agent.name.as_ref();
        let span = name.map_or_else(Span::none, |name| tracing::info_span!("network", %name));
        stays.instrument(span)
    });
    tokio::select! {
        stayed = try_join_all(stays) => drop(stayed?),
        _died = wall => return Err(died()),
    }
    tell_systemd(&[NotifyState::Stopping]);
    for running in running {
        running.stop().await;
    }
    tracing::info!("stopping; the network stays as it is");
    drop(servers);
    Ok(())
}

/// Everything of the host that can be refused without asking etcd.
async fn open(flags: &Flags, boards: &Boards) -> Result<Host, Failure> {
    let capabilities = Capabilities::probe();
    capabilities.need_net_admin()?;
    let (programs, engine) = (Programs::probe().await?, flags.firewall.engine.into());
    programs.check(engine)?;
    let identity = Identity::open(&flags.files.state_dir)?;
    let node = identity.node;
    tracing::info!(%node, version = env!("CARGO_PKG_VERSION"), "twilld starts");
    Ok(Host::new(identity, capabilities, (programs, engine), boards))
}

/// The same of one network.
fn agent(
    host: &Arc<Host>,
    (name, flags): (Option<NetworkName>, Flags),
    (board, hook): (&Board, Hook),
) -> Result<Agent<Asked>, Failure> {
    let store = Etcd::new(&access::options(&flags.etcd, access::credentials().as_deref())?)?;
    let store = Counted::new(store, board.meters());
    publish::check(&flags.files)?;
    let (host, board, kernel) = (Arc::clone(host), board.clone(), Kernel::open()?);
    let state = &flags.files.state_dir;
    let (memory, shelf, devices) = (Memory::new(state), Shelf::new(state), Mutex::default());
    Ok(Agent { host, name, flags, kernel, store, board, memory, shelf, hook, devices })
}

/// Becomes true with the first SIGTERM or SIGINT; the second one ends the process at once.
fn stop_on_signal() -> Result<watch::Receiver<bool>, Failure> {
    let listen = |kind| signal(kind).context("cannot listen for signals");
    let (mut term, mut int): (Signal, Signal) =
        (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        stop.send_replace(true);
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        // Whoever asks twice does not want to wait.
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL)
    });
    Ok(stopped)
}
