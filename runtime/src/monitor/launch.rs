//! From a record to a running program.

use std::fs::{self, File};
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use libcontainer::container::Container as OciContainer;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use nix::unistd::{Gid, Uid, fchown};
use twill_core::ids::Family;
use twill_endpoint::Port;

use super::executor::{self, Program};
use super::ports::Held;
use super::{join, sharing, socket};
use crate::Paths;
use crate::bundle::files::Surroundings;
use crate::bundle::user::Databases;
use crate::bundle::{
    Identity, Inputs, Powers, files, mount_namespace, powers, rootfs, spec, storage, user,
};
use crate::cgroup::Hierarchies;
use crate::container::{Address, Network, Record, Store, births, link_variables, links, reap};
use crate::error::{Error, FileContext as _, Result, SystemContext as _};
use crate::process::{Handle, Process};
use crate::volume;

/// The monitor's ends of what the container reads and writes.
#[derive(Debug)]
pub(super) enum Streams {
    /// Three pipes; no first one if nobody keeps the input open.
    Pipes { input: Option<PipeWriter>, output: PipeReader, error: PipeReader },
    /// The master of its terminal.
    Terminal(File),
}

/// A container whose program has been executed.
#[derive(Debug)]
pub(super) struct Launched {
    pub(super) process: Process,
    pub(super) handle: Handle,
    pub(super) streams: Streams,
    pub(super) address: Option<Address>,
    pub(super) ports: Vec<Port>,
    /// Nobody changes the volumes under it while they are here.
    pub(super) volumes: Vec<volume::Use>,
}

/// Starts the container. After an error things are left for [`reap::clear`].
pub(super) fn launch(paths: &Paths, record: &Record, held: &mut Held) -> Result<Launched> {
    // Asked first: without it nothing need be made, and the reason is clear.
    links::check(&Store::new(paths), record)?;
    let around = surroundings(paths, record)?;
    held.take(paths, record, &around.families)?;
    let _births = births::announce(paths, &record.id)?;
    mount_namespace::leave_host_mounts()?;
    let mounted = rootfs::mount_overlay(paths, record)?;
    let mut told = record.clone();
    // The container's own count for more.
    told.env.splice(..0, link_variables::of(&Store::new(paths), record));
    let (identity, shared, volumes) = write_bundle((paths, &around), &told, &mounted)?;
    let (mut ends, ours) = Ends::new(paths, record, &identity)?;
    let (outcome, report) = io::pipe().system("make a pipe")?;
    let built = build(paths, record, Builder { ends: &mut ends, report });
    drop(shared);
    let mut container = match built {
        Ok(container) => container,
        Err(error) => return Err(refused(outcome).unwrap_or(error)),
    };
    let Some(pid) = container.pid() else { return Err(Error::Lost) };
    let pid = pid.as_raw();
    let handle = Handle::of_child(pid)?;
    let streams = ours.receive()?;
    let address = join::join((paths, &around.families), (record, held), pid)?;
    container.start().map_err(Error::runtime)?;
    if let Some(refused) = refused(outcome) {
        return Err(refused);
    }
    // Gone already, perhaps; until it is waited for its entry stays.
    let process = Process::of_pid(pid).unwrap_or(Process { pid, started: 0 });
    Ok(Launched { process, handle, streams, address, ports: held.ports(), volumes })
}

fn refused(outcome: PipeReader) -> Option<Error> {
    let executor::Refusal { code, message } = executor::outcome(outcome).err()?;
    Some(Error::Start { code, message, hint: None })
}

/// What the container will meet.
fn surroundings(paths: &Paths, record: &Record) -> Result<Surroundings> {
    let env = reap::host(paths).read_env();
    if record.network != Network::Bridge {
        // For its hosts file alone.
        let subnets = env.iter().flat_map(twill_core::subnet_env::SubnetEnv::blocks);
        let gateways = subnets.map(|blocks| blocks.subnet.first_host()).collect();
        return Ok(Surroundings { families: vec![Family::V4], gateways, resolvers: Vec::new() });
    }
    let env = env.map_err(|source| Error::Network { operation: "join", source })?;
    let subnets: Vec<_> = env.blocks().map(|blocks| blocks.subnet).collect();
    // Whoever answers there writes it.
    let resolvers = fs::read_to_string(paths.resolvers()).unwrap_or_default();
    Ok(Surroundings {
        families: subnets.iter().map(|subnet| subnet.family()).collect(),
        gateways: subnets.iter().map(|subnet| subnet.first_host()).collect(),
        resolvers: resolvers.lines().filter_map(|line| line.parse().ok()).collect(),
    })
}

fn write_bundle(
    (paths, around): (&Paths, &Surroundings),
    record: &Record,
    mounted: &Path,
) -> Result<(Identity, sharing::Found, Vec<volume::Use>)> {
    let inside = rootfs::Inside::open(mounted)?;
    let passwd = inside.read(Path::new("/etc/passwd"))?;
    let group = inside.read(Path::new("/etc/group"))?;
    let files = Databases { passwd: &passwd, group: &group };
    let mut identity = user::resolve(&record.user, files)?;
    powers::add_groups(&mut identity, record, files)?;
    inside.ensure_directory(&record.workdir)?;
    for file in files::MOUNTED {
        inside.ensure_file(Path::new(file))?;
    }
    let powers = Powers::of(record)?;
    let (storage, volumes) = storage::prepare(paths, record, &inside)?;
    let directory = paths.container(&record.id);
    // Whose network it shares, its files it shares as well.
    let files = record.wiring.shares.as_ref().map(|id| paths.container(id));
    if files.is_none() {
        files::write(&directory, record, around)?;
    }
    let hierarchies = Hierarchies::here()?;
    let cgroup = hierarchies.cgroup(&record.cgroup());
    cgroup.create_v1(&hierarchies)?;
    let shared = sharing::find(paths, record)?;
    let config = spec::render(&Inputs {
        record,
        identity: &identity,
        rootfs: mounted,
        files: files.as_ref().unwrap_or(&directory),
        powers: &powers,
        nodes: &powers::nodes(record)?,
        storage: &storage,
        shared: &shared.shared,
        counts_swap: cgroup.counts_swap(),
        cgroups_v1: &cgroup.directories()[..hierarchies.v1().len()],
    });
    let path = paths.run_container(&record.id).join("config.json");
    fs::write(&path, config.to_string()).file("write", &path)?;
    Ok((identity, shared, volumes))
}

struct Builder<'a> {
    ends: &'a mut Ends,
    report: PipeWriter,
}

/// libcontainer's part: processes, namespaces, cgroups, mounts, limits. The first process is our
/// child and waits for [`OciContainer::start`].
fn build(paths: &Paths, record: &Record, with: Builder<'_>) -> Result<OciContainer> {
    let run = paths.run_container(&record.id);
    let states = run.join("oci");
    fs::create_dir(&states).file("create", &states)?;
    let mut builder = ContainerBuilder::new(record.id.clone(), SyscallType::default())
        .with_executor(Program { report: Rc::new(with.report), init: record.isolation.init })
        .with_root_path(&states)
        .map_err(Error::runtime)?
        .with_console_socket(with.ends.console.as_ref());
    if let Some(Stdio { input, output, error }) = with.ends.stdio.take() {
        builder = builder.with_stdin(input).with_stdout(output).with_stderr(error);
    }
    let built = builder.as_init(run).with_systemd(false).with_detach(true).build();
    built.map_err(Error::runtime)
}

/// The container's ends of its streams.
struct Ends {
    stdio: Option<Stdio>,
    console: Option<PathBuf>,
}

struct Stdio {
    input: OwnedFd,
    output: OwnedFd,
    error: OwnedFd,
}

/// Our ends, as far as they are there before the container is.
enum Ours {
    Pipes(Streams),
    Console(UnixListener),
}

impl Ends {
    fn new(paths: &Paths, record: &Record, identity: &Identity) -> Result<(Self, Ours)> {
        if record.tty {
            let run = paths.run_container(&record.id);
            let listener = socket::listen(&run, "console.sock")?;
            let console = Some(run.join("console.sock"));
            return Ok((Self { stdio: None, console }, Ours::Console(listener)));
        }
        let pipe = || io::pipe().system("make a pipe");
        let ((output, theirs_output), (error, theirs_error)) = (pipe()?, pipe()?);
        let (theirs_input, input) = if record.open_stdin {
            let (theirs, ours) = pipe()?;
            (OwnedFd::from(theirs), Some(ours))
        } else {
            let null = Path::new("/dev/null");
            (File::open(null).file("open", null)?.into(), None)
        };
        let stdio =
            Stdio { input: theirs_input, output: theirs_output.into(), error: theirs_error.into() };
        // Else a user who is not root could not open /dev/stdout.
        for end in [stdio.output.as_fd(), stdio.error.as_fd()] {
            let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
            fchown(end, Some(uid), Some(gid)).system("hand the output over")?;
        }
        let streams = Streams::Pipes { input, output, error };
        Ok((Self { stdio: Some(stdio), console: None }, Ours::Pipes(streams)))
    }
}

impl Ours {
    fn receive(self) -> Result<Streams> {
        match self {
            Self::Pipes(streams) => Ok(streams),
            Self::Console(listener) => {
                socket::receive_descriptor(&listener).map(|master| Streams::Terminal(master.into()))
            }
        }
    }
}
