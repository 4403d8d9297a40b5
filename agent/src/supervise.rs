//! The life of the process: checks, then this host's stay in its network, until a signal.

use std::sync::{Arc, Mutex};

use anyhow::Context;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use twill_net::Kernel;
use twill_net::capabilities::Capabilities;
use twill_net::firewall::Programs;
use twill_net::rights;
use twill_store::Etcd;

use crate::access;
use crate::bootstrap::Agent;
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
use crate::status::Board;
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
    let hook = Hook::new();
    let running = hook.start(&flags)?;
    // Before anything that has a thread of its own, and before anything from outside is read.
    rights::shed()?;
    let agent = open(flags, hook).await?;
    let doctor = Doctor::new(&agent.board, &agent.kernel);
    let tracer = Tracer::new(&agent.board, &agent.kernel, agent.flags.healthz_port);
    let servers = Servers::start(&agent.flags, &agent.board, (doctor, tracer)).await?;
    let period = agent.flags.firewall.iptables_resync;
    let wall = tokio::spawn(agent.host.wall.clone().keep(period, agent.board.clone()));
    tokio::select! {
        stayed = stay(&agent, stop) => stayed?,
        _died = wall => return Err(died()),
    }
    tell_systemd(&[NotifyState::Stopping]);
    running.stop().await;
    tracing::info!("stopping; the network stays as it is");
    drop(servers);
    Ok(())
}

/// Everything that can be refused without asking etcd.
async fn open(flags: Flags, hook: Hook) -> Result<Agent<Asked>, Failure> {
    let capabilities = Capabilities::probe();
    capabilities.need_net_admin()?;
    let (programs, engine) = (Programs::probe().await?, flags.firewall.engine.into());
    programs.check(engine)?;
    let board = Board::default();
    let store = Etcd::new(&access::options(&flags.etcd, access::credentials().as_deref())?)?;
    let store = Counted::new(store, board.meters());
    let identity = Identity::open(&flags.files.state_dir)?;
    let node = identity.node;
    publish::check(&flags.files)?;
    tracing::info!(%node, version = env!("CARGO_PKG_VERSION"), "twilld starts");
    let kernel = Kernel::open()?;
    let host = Arc::new(Host::new(identity, capabilities, (programs, engine)));
    let state = &flags.files.state_dir;
    let (memory, shelf) = (Memory::new(state), Shelf::new(state));
    let (name, devices) = (None, Mutex::default());
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
