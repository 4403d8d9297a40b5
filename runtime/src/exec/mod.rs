//! One more process in a running container.
//!
//! libcontainer's own way gives such a process no seccomp filter and other limits than the
//! container's, so it is done by hand:
//!
//! ```text
//! twill exec ─fork─► A: cgroups, namespaces ─fork─► B (in the pid namespace): session, user,
//!     │                                                seccomp, capabilities, execve
//!     └─ relays a terminal, waits ◄── exit code ── A waits for B
//! ```
//!
//! A detached command keeps its A: a process whose parent is gone would fall to the host's init, and the
//! end of the container would wait for that to reap it.

mod enter;
mod relay;
mod streams;

use std::io;
use std::path::{Path, PathBuf};

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::bundle::rootfs::Inside;
use crate::bundle::user::{self, Databases};
use crate::bundle::{Identity, Powers, powers, spec};
use crate::cgroup::{Cgroup, Hierarchies};
use crate::container::create::expand_environment;
use crate::container::{Container, Record, Store, link_variables};
use crate::error::{Error, Result, SystemContext as _};
use crate::monitor::executor;
use crate::process::Handle;
use crate::raw::SingleThread;
use crate::security::capabilities;
use crate::{Paths, events};

/// What is to be run.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct Wishes {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// `NAME=VALUE`, or `NAME` to take it from here.
    pub env: Vec<String>,
    /// The container's if not given.
    pub workdir: Option<String>,
    /// The container's if not given.
    pub user: Option<String>,
    /// Is standard input connected?
    pub interactive: bool,
    /// A terminal?
    pub tty: bool,
    /// Return as soon as the program has been executed.
    pub detach: bool,
    /// With all capabilities?
    pub privileged: bool,
}

/// Everything that the new process needs to know, found out before the first fork.
#[derive(Debug)]
struct Plan {
    /// Whoever types `exec`.
    caller: Handle,
    handle: Handle,
    cgroup: Cgroup,
    identity: Identity,
    powers: Powers,
    command: Vec<String>,
    environment: Vec<String>,
    workdir: PathBuf,
    tty: bool,
    detach: bool,
}

/// Runs a command in a running container; returns its exit code, 128+n for signal n.
pub fn run(paths: &Paths, container: &Container, wishes: &Wishes) -> Result<u8> {
    let record = &container.record;
    let not_running = || Error::NotRunning(record.name.clone());
    let process = container.state.process.ok_or_else(not_running)?;
    let handle = process.open().ok_or_else(not_running)?;
    let root = PathBuf::from(format!("/proc/{}/root", process.pid));
    let inside = Inside::open(&root).map_err(|_gone| not_running())?;
    let mut told = record.clone();
    told.env.splice(..0, link_variables::of(&Store::new(paths), record));
    let plan = plan(&told, wishes, (handle, &inside))?;
    let single = SingleThread::check().system("start a process")?;
    let (streams, relay) = streams::open(wishes, &inside, &plan.identity)?;
    let (outcome, report) = io::pipe().system("make a pipe")?;
    let child = single.fork(|single| enter::enter(&plan, streams, (single, report)));
    let child = child.system("start a process")?;
    let watched = Handle::of_child(child.as_raw())?;
    if let Err(executor::Refusal { code, message }) = executor::outcome(outcome) {
        exit_code(child)?;
        if code == enter::HAS_ENDED {
            return Err(not_running());
        }
        return Err(Error::Start { code, message, hint: None });
    }
    events::container(paths, record, &format!("exec_start: {}", wishes.command.join(" ")), &[]);
    if wishes.detach {
        return Ok(0);
    }
    if let Some(relay) = relay {
        relay.run(&watched)?;
    }
    let code = exit_code(child)?;
    events::container(paths, record, "exec_die", &[("exitCode", code.to_string())]);
    Ok(code)
}

fn plan(record: &Record, wishes: &Wishes, at: (Handle, &Inside)) -> Result<Plan> {
    let (handle, inside) = at;
    let passwd = inside.read(Path::new("/etc/passwd"))?;
    let group = inside.read(Path::new("/etc/group"))?;
    let user = wishes.user.as_deref().unwrap_or(&record.user);
    let files = Databases { passwd: &passwd, group: &group };
    let mut identity = user::resolve(user, files).map_err(|error| cannot_invoke(&error))?;
    powers::add_groups(&mut identity, record, files)?;
    let mut powers = Powers::of(record)?;
    if wishes.privileged {
        powers.capabilities = capabilities::own();
    }
    let workdir = wishes.workdir.as_ref().map_or_else(|| record.workdir.clone(), PathBuf::from);
    if !workdir.is_absolute() {
        let relative = Error::Usage("Cwd must be an absolute path".into());
        return Err(cannot_invoke(&relative));
    }
    let mut record_env = Record { tty: wishes.tty, ..record.clone() };
    record_env.env.extend(expand_environment(&wishes.env)?);
    Ok(Plan {
        caller: Handle::of_self()?,
        handle,
        cgroup: Hierarchies::here()?.cgroup(&record.cgroup()),
        environment: spec::environment(&record_env, &identity),
        identity,
        powers,
        command: wishes.command.clone(),
        workdir,
        tty: wishes.tty,
        detach: wishes.detach,
    })
}

/// Docker's code for what cannot become a process.
fn cannot_invoke(error: &Error) -> Error {
    Error::Start { code: 126, message: error.chain(), hint: error.hint() }
}

fn exit_code(child: Pid) -> Result<u8> {
    loop {
        match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, code)) => return Ok(u8::try_from(code & 0xff).unwrap_or(255)),
            Ok(WaitStatus::Signaled(_, signal, _)) => {
                return Ok(128 + u8::try_from(signal as i32).unwrap_or(127));
            }
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error).system("learn the exit code"),
        }
    }
}
