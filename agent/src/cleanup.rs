//! `twilld cleanup`: takes everything off this host that Twill made on it, and nothing else.
//!
//! All is looked at before anything is touched. What says whose a device is goes last, so that a
//! clean-up that was cut off can be done again.

mod containers;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use twill_core::ids::{Family, NetworkName};
use twill_core::run::DIRECTORY;
use twill_core::serving::is_tunnel;
use twill_core::subnet_env::SubnetEnv;
use twill_net::Kernel;
use twill_net::blocking::{self, Link};
use twill_net::capabilities::Capabilities;
use twill_net::firewall::Programs;
use twill_net::kernel::{MarkedRoute, Program, lifts_for};
use twill_net::ports::{Writer, is_ipv6_there};
use twill_tunnel::shortcut::Claim;

use crate::departed;
use crate::failure::{self, Failure};
use crate::files::temporary;
use crate::flags::{Files, complete, networks_in};
use crate::lock::Lock;
use crate::publish;
use containers::Joined;

/// What it is called.
pub(crate) const COMMAND: &str = "cleanup";

/// What the agent keeps in its state directory besides what is of a network; the last one is what keeps
/// others off it.
const STATE: [&str; 3] = ["machine", "node-id", "lock"];

/// Kinds of tunnels' devices, and of what belongs to them.
const TUNNELS: [&str; 3] = ["vxlan", "tun", "wireguard"];
const LIFTS: [&str; 1] = ["vxlan"];

/// Takes everything off this host that Twill made on it, and nothing else: devices, routes, firewall
/// rules, bridges and what containers are joined to them with, files in /run, the agent's state.
///
/// Images and containers of `twill` stay, the settings of the kernel that the agent made as well, and
/// the lease in etcd: `twillctl lease revoke`.
#[derive(Debug, clap::Parser)]
#[command(name = "twilld cleanup", disable_version_flag = true)]
struct Cleanup {
    #[command(flatten)]
    consent: Consent,
    /// Go on though an agent runs, or containers are on a bridge
    #[arg(long)]
    force: bool,
    /// Keep the state directory, so that this host comes back with its node id and subnet
    #[arg(long)]
    keep_state: bool,
    #[command(flatten)]
    files: Files,
}

#[derive(Debug, clap::Args)]
struct Consent {
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
}

/// All there is.
struct Found {
    firewall: Vec<String>,
    routes: Vec<MarkedRoute>,
    devices: Vec<Link>,
    joined: Joined,
    /// Of the shortcut of `udp`.
    programs: Vec<Program>,
    /// Why they could not be listed.
    unlisted: Option<twill_net::Error>,
    files: Vec<PathBuf>,
    /// These go when nothing is left in them.
    directories: Vec<PathBuf>,
}

/// The whole of it, for `main`; `arguments` begin with the command's name.
pub(crate) fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cleanup: Cleanup = match complete(arguments, |name| std::env::var_os(name)) {
        Ok((cleanup, _inherited)) => cleanup,
        Err(answer) => return failure::usage(&answer),
    };
    match start(&cleanup) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn start(cleanup: &Cleanup) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the runtime")?.block_on(clean(cleanup))
}

async fn clean(cleanup: &Cleanup) -> Result<(), Failure> {
    Capabilities::probe().need_net_admin()?;
    let locks = locks(cleanup)?;
    let (kernel, programs) = (Kernel::open()?, Programs::probe().await?);
    let found = look(cleanup, &kernel, &programs).await?;
    let names = found.names();
    if names.is_empty() {
        return say("nothing of Twill is on this host");
    }
    let verb = if cleanup.consent.dry_run { "would remove" } else { "remove" };
    for name in &names {
        say(&format!("{verb} {name}"))?;
    }
    if cleanup.consent.dry_run || !(cleanup.consent.yes || asked()?) {
        return Ok(());
    }
    let errors = remove(found, &kernel, &programs, locks).await;
    match errors.into_iter().reduce(|first, other| first.besides(&other.line())) {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

/// Nobody starts an agent while we work. Without them with `--force`.
fn locks(cleanup: &Cleanup) -> Result<Vec<Lock>, Failure> {
    let mut locks = Vec::new();
    let mut taken = Vec::new();
    if cleanup.files.state_dir.is_dir() {
        taken.push(Lock::directory(&cleanup.files.state_dir));
    }
    let devices = Lock::devices()?;
    taken.extend(devices.iter().map(|device| Lock::device(device)));
    for lock in taken {
        match lock {
            Ok(lock) => locks.push(lock),
            Err(_held) if cleanup.force => {}
            Err(held) => return Err(held.hint("systemctl stop twilld; or --force")),
        }
    }
    Ok(locks)
}

async fn look(cleanup: &Cleanup, kernel: &Kernel, programs: &Programs) -> Result<Found, Failure> {
    let links = blocking::Kernel::here().and_then(|mut kernel| kernel.links());
    let links = links.context("cannot list the interfaces")?;
    let served = Lock::devices()?;
    // A list that cannot be had is no reason to leave the rest.
    let (listed, unlisted) = match kernel.programs().await {
        Ok(listed) => (listed, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    let of_kind = |link: &Link, kinds: &[&str]| {
        link.kind.as_deref().is_some_and(|kind| kinds.contains(&kind))
    };
    let tunnel = |link: &&Link| {
        let name = lifts_for(&link.name).unwrap_or(&link.name);
        // What a program of ours looks after is ours, whatever became of the lock.
        let looked_after = name != link.name && listed.iter().any(|it| it.interface == link.name);
        is_tunnel(name)
            && (looked_after || served.iter().any(|served| served == name))
            && of_kind(link, if name == link.name { &TUNNELS } else { &LIFTS })
    };
    let devices: Vec<Link> = links.iter().filter(tunnel).cloned().collect();
    let told = of_networks(&cleanup.files);
    let told: Vec<SubnetEnv> = told.iter().filter_map(publish::previous).collect();
    let joined = Joined::look(&told, &links)?;
    for Link { name, index, .. } in joined.bridges.iter().filter(|_bridge| !cleanup.force) {
        let ports = links.iter().filter(|link| link.bridge == Some(*index)).count();
        if ports > 0 {
            let plural = if ports == 1 { " is" } else { "s are" };
            let text = format!("{ports} container{plural} on the bridge {name}");
            let failure = Failure::refused(anyhow::Error::msg(text));
            return Err(failure.hint("`twill rm -f` them and delete the pods first; or --force"));
        }
    }
    let (mut firewall, routes) = (programs.leftovers().await?, kernel.marked_routes().await?);
    firewall.extend(ports().leftovers()?);
    Ok(Found {
        programs: listed,
        unlisted,
        firewall,
        routes,
        devices,
        joined,
        files: files(cleanup),
        directories: directories(cleanup),
    })
}

/// Who looks after the rules of published ports.
fn ports() -> Writer {
    let ipv6 = is_ipv6_there().then_some(Family::V6);
    Writer::new(&[Family::V4].into_iter().chain(ipv6).collect::<Vec<_>>())
}

fn files(cleanup: &Cleanup) -> Vec<PathBuf> {
    let socket = &cleanup.files.socket;
    // The last one is its unit's.
    let beside = ["resolvers", "boot-id"].map(|name| socket.with_file_name(name));
    let mut files = vec![socket.clone()];
    files.extend(beside);
    for network in of_networks(&cleanup.files) {
        let Files { subnet_file, docker_options_file, state_dir, .. } = &network;
        files.extend([subnet_file.clone(), docker_options_file.clone()]);
        if !cleanup.keep_state {
            files.extend(departed::STATE.map(|name| state_dir.join(name)));
        }
    }
    if !cleanup.keep_state {
        files.extend(STATE.map(|name| cleanup.files.state_dir.join(name)));
    }
    files.extend(Claim::files().unwrap_or_default());
    let halves: Vec<PathBuf> = files.iter().filter_map(|file| temporary(file).ok()).collect();
    files.extend(halves);
    files.retain(|file| fs::symlink_metadata(file).is_ok());
    files
}

fn directories(cleanup: &Cleanup) -> Vec<PathBuf> {
    let Files { subnet_file, docker_options_file, socket, state_dir, subnet_dir, .. } =
        &cleanup.files;
    let of_networks = of_networks(&cleanup.files).into_iter().map(|files| files.state_dir);
    let mut directories: Vec<PathBuf> = of_networks.filter(|it| it != state_dir).collect();
    directories.extend([networks_in(state_dir), subnet_dir.clone()]);
    let parents = [subnet_file, docker_options_file, socket].map(|file| file.parent());
    directories.extend(parents.into_iter().flatten().map(Path::to_owned));
    directories.extend([DIRECTORY.into(), state_dir.clone()]);
    directories
}

/// Those of the network without a name, and those of each with one that this host knows of: by its state,
/// or by what containers were told.
fn of_networks(files: &Files) -> Vec<Files> {
    let told = files.subnet_dir.read_dir().into_iter().flatten().flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.strip_suffix(".env").or_else(|| name.strip_suffix(".docker"))?.parse().ok()
    });
    let names: BTreeSet<NetworkName> = told.chain(files.known_networks()).collect();
    let of_each = names.iter().map(|name| files.of(name));
    std::iter::once(files.clone()).chain(of_each).collect()
}

impl Found {
    fn names(&self) -> Vec<String> {
        let Self { firewall, routes, devices, joined, programs, files, .. } = self;
        let routes = routes.iter().map(ToString::to_string);
        let pairs = joined.containers.iter().map(|record| &record.host_interface);
        let devices = devices.iter().chain(&joined.bridges).map(|link| &link.name);
        let devices = pairs.chain(devices).map(|name| format!("interface {name}"));
        let programs = programs.iter().map(ToString::to_string);
        let files = files.iter().map(|file| file.display().to_string());
        firewall.iter().cloned().chain(routes).chain(devices).chain(programs).chain(files).collect()
    }
}

/// Goes on after an error: less is left then.
async fn remove(
    found: Found,
    kernel: &Kernel,
    programs: &Programs,
    locks: Vec<Lock>,
) -> Vec<Failure> {
    let mut errors: Vec<Failure> = found.unlisted.map(Failure::from).into_iter().collect();
    for route in found.routes {
        errors.extend(kernel.drop_marked_route(route).await.err().map(Failure::from));
    }
    errors.extend(found.joined.part());
    let mut stayed = BTreeSet::new();
    for Link { name, .. } in found.devices.iter().chain(&found.joined.bridges) {
        let dropped = match lifts_for(name) {
            Some(_device) => kernel.drop_lift(name).await.map(drop),
            None => kernel.drop_device(name).await,
        };
        if let Err(error) = dropped {
            errors.push(error.into());
            stayed.insert(name);
        }
    }
    // What looks after a lift has gone with it. Should that have stayed, nothing may come in by it unseen.
    let guards = |program: &Program| {
        lifts_for(&program.interface).is_some() && stayed.contains(&program.interface)
    };
    for program in found.programs.iter().filter(|program| !guards(program)) {
        errors.extend(kernel.drop_program(program).await.err().map(Failure::from));
    }
    errors.extend(programs.clear().await.err().map(Failure::from));
    errors.extend(ports().clear().err().map(Failure::from));
    // Without its device a lock says nothing any more; with it, it is needed the next time.
    let complete = errors.is_empty();
    let claims = Claim::files().unwrap_or_default();
    for file in found.files.into_iter().filter(|file| complete || !claims.contains(file)) {
        let gone =
            fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()));
        errors.extend(gone.err().map(Failure::from));
    }
    for lock in locks.into_iter().filter(|lock| complete && lock.is_on_a_device()) {
        errors.extend(lock.remove().err().map(Failure::from));
    }
    for directory in found.directories {
        // Somebody else's files keep it, and that is as it should be.
        drop(fs::remove_dir(directory));
    }
    errors
}

fn asked() -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        let text = "nobody is there to be asked, and --yes is not given";
        return Err(Failure::refused(anyhow::Error::msg(text)).hint("add --yes, or --dry-run"));
    }
    let mut stderr = io::stderr();
    let mut line = String::new();
    let answer = write!(stderr, "all of it? [y/N] ")
        .and_then(|()| stderr.flush())
        .and_then(|()| io::stdin().read_line(&mut line));
    answer.context("cannot ask")?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

fn say(line: &str) -> Result<(), Failure> {
    Ok(writeln!(io::stdout(), "{line}").context("cannot write")?)
}
