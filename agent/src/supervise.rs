//! The life of the process: checks, then this host's stay in its network or in each of several, until a
//! signal.

use std::sync::Arc;

use anyhow::Context;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use twill_net::Kernel;
use twill_net::capabilities::Capabilities;
use twill_net::firewall::Programs;
use twill_net::rights;

use crate::departed;
use crate::doctor::Doctor;
use crate::failure::Failure;
use crate::flags::{Flags, Parsed};
use crate::hook::Hooks;
use crate::host::Host;
use crate::http::Servers;
use crate::identity::Identity;
use crate::names::Names;
use crate::patience::tell_systemd;
use crate::ports;
use crate::prefix::Prefix;
use crate::status::Boards;
use crate::stay::died;
use crate::trace::Tracer;
use crate::visits::Visits;
use crate::watchdog;

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
    let hooks = Hooks::start(&flags)?;
    // Before anything that has a thread of its own, and before anything from outside is read.
    rights::shed(flags.udp.duty())?;
    tokio::spawn(watchdog::feed());
    let boards = boards(&flags);
    let host = Arc::new(open(&flags, &boards).await?);
    let kernel = Kernel::open()?;
    let node = host.identity().node;
    let prefix = Prefix::open(&flags, &boards, node)?;
    let mut visits = Visits::new(&host, &flags, (&boards, hooks));
    visits.begin(&kernel).await?;
    departed::clear(&flags, (&kernel, &host.programs)).await;
    let doctor = Doctor::new(&boards, &kernel);
    let tracer = Tracer::new(&boards, &kernel, flags.healthz_port);
    let servers = Servers::start(&flags, &boards, (doctor, tracer)).await?;
    let ports = twill_endpoint::Host {
        subnet_env: flags.files.subnet_file.clone(),
        ..twill_endpoint::Host::default()
    };
    let how = (flags.firewall.iptables_resync, boards.meters().clone());
    let ports = tokio::spawn(ports::keep(host.wall.clone(), ports, how));
    let shared = host.clone();
    let names = tokio::spawn(async move { shared.names.keep().await });
    let wall = tokio::spawn(host.wall.clone().keep(flags.firewall.iptables_resync, boards));
    tokio::select! {
        ran = visits.run(prefix, stop) => ran?,
        _died = wall => return Err(died()),
        _died = ports => return Err(died()),
        _died = names => return Err(died()),
    }
    tell_systemd(&[NotifyState::Stopping]);
    tracing::info!("stopping; the network stays as it is");
    drop(servers);
    Ok(())
}

fn boards(flags: &Flags) -> Boards {
    if flags.etcd.watch_networks {
        return Boards::following(&flags.etcd.prefix);
    }
    let names: Vec<_> = flags.of_networks().into_iter().map(|(name, _flags)| name).collect();
    Boards::of(&names)
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
    let files = &flags.files;
    let names = Names::new(files.subnet_file.clone(), &files.socket, boards.meters().clone());
    Ok(Host::new((identity, capabilities), (programs, engine), names, boards))
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
