//! The life of the process: checks, then sessions one after the other, until a signal.

use std::sync::Mutex;

use anyhow::Context;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use twill_net::Kernel;
use twill_net::capabilities::Capabilities;
use twill_net::firewall::Firewall;
use twill_store::{Etcd, Options, Tls, User};

use crate::bootstrap::Agent;
use crate::failure::Failure;
use crate::flags::{Flags, Parsed};
use crate::http::Servers;
use crate::identity::Identity;
use crate::patience::{insist, tell_systemd};
use crate::publish;
use crate::session::{End, Session};
use crate::status::{Board, now};

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
    let mut stop = stop_on_signal()?;
    let agent = open(flags).await?;
    let servers = Servers::start(&agent.flags, &agent.board).await?;
    let mut first = true;
    loop {
        let session = tokio::select! {
            session = start(&agent, first) => session?,
            _stopped = stop.wait_for(|stop| *stop) => break,
        };
        first = false;
        match session.run(&agent, stop.clone()).await {
            End::Stopped => break,
            End::Again => agent.board.leaving(),
            End::Died => {
                let text = "a task of the agent died, see the log above";
                return Err(Failure::internal(anyhow::Error::msg(text)));
            }
        }
    }
    tell_systemd(&[NotifyState::Stopping]);
    tracing::info!("stopping; the network stays as it is");
    drop(servers);
    Ok(())
}

async fn start(agent: &Agent<Etcd>, first: bool) -> Result<Session, Failure> {
    let attempt = || async { Session::open(agent, agent.join().await?).await };
    if first {
        Box::pin(attempt()).await
    } else {
        Ok(Box::pin(insist(&agent.board, attempt)).await)
    }
}

/// Everything that can be refused without asking etcd.
async fn open(flags: Flags) -> Result<Agent<Etcd>, Failure> {
    let capabilities = Capabilities::probe();
    capabilities.need_net_admin()?;
    let firewall = Firewall::probe().await?;
    let store = Etcd::new(&options(&flags)?)?;
    let identity = Identity::open(&flags.files.state_dir)?;
    publish::check(&flags.files)?;
    tracing::info!(node = %identity.node, version = env!("CARGO_PKG_VERSION"), "twilld starts");
    let (kernel, board, started) = (Kernel::open()?, Board::default(), now());
    let device = Mutex::default();
    Ok(Agent { flags, identity, capabilities, kernel, firewall, store, board, started, device })
}

fn options(flags: &Flags) -> Result<Options, Failure> {
    let etcd = &flags.etcd;
    let password = match (&etcd.password, &etcd.password_file) {
        (Some(secret), _) => Some(secret.reveal().to_owned()),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path);
            let text = text.with_context(|| format!("cannot read {}", path.display()));
            let text = text.map_err(|error| {
                Failure::refused(error).hint("correct --etcd-password-file, or who may read it")
            })?;
            Some(text.lines().next().unwrap_or_default().to_owned())
        }
        (None, None) => None,
    };
    let user = match (etcd.username.clone(), password) {
        (Some(name), Some(password)) => Some(User { name, password }),
        (None, None) => None,
        _half => {
            let text = "--etcd-username and a password are needed together";
            return Err(Failure::usage(anyhow::Error::msg(text))
                .hint("give both --etcd-username and --etcd-password-file, or neither"));
        }
    };
    Ok(Options {
        endpoints: etcd.endpoints.0.clone(),
        prefix: etcd.prefix.clone(),
        tls: Tls {
            ca_file: etcd.cafile.clone(),
            cert_file: etcd.certfile.clone(),
            key_file: etcd.keyfile.clone(),
        },
        user,
        ..Options::default()
    })
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
