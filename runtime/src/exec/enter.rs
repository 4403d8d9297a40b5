//! The way into the container, in the order that the kernel and safety want.

use std::io::{PipeWriter, Write as _};
use std::os::fd::AsFd as _;
use std::time::Duration;

use libcontainer::syscall::syscall::{Syscall, create_syscall};
use libcontainer::{capabilities, seccomp};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::setrlimit;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, chdir, getcwd, setgroups, setsid};
use rustix::process::ioctl_tiocsctty;
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use super::streams::Streams;
use super::{Plan, exit_code};
use crate::bundle::{Identity, Powers};
use crate::monitor::executor::{Refusal, become_program, look_up};
use crate::raw::SingleThread;

const CANNOT_INVOKE: u8 = 126;
/// In place of a code: the container does not run any more.
pub(super) const HAS_ENDED: u8 = 0;
/// It is seen when all its processes are reaped. Only who has failed waits for that.
const MOMENT: Duration = Duration::from_secs(2);

type Step<T> = Result<T, Refusal>;

/// Process A. Returns the code that it ends with, which is that of B.
pub(super) fn enter(plan: &Plan, streams: Streams, with: (&SingleThread, PipeWriter)) -> i32 {
    let (single, mut report) = with;
    if let Err(refusal) = join(plan, single) {
        return tell(&mut report, &reason(plan, refusal));
    }
    let Ok(mut child_report) = report.try_clone() else { return i32::from(CANNOT_INVOKE) };
    let forked = single.fork(|_| {
        let refusal = settle(plan, &streams).map_or_else(
            |refusal| refusal,
            |()| match look_up(&plan.command, &plan.environment) {
                Ok(program) => become_program(&program, &plan.command, &plan.environment),
                Err(refusal) => refusal,
            },
        );
        tell(&mut child_report, &refusal)
    });
    if plan.detach {
        // We stay, to be the parent of B: the host's init need not know it. Nothing of the caller's stays.
        _ = setsid();
        _ = streams.take_over();
    }
    let child = match forked {
        Ok(child) => child,
        // Nobody is born any more into the pid namespace of a container that has ended.
        Err(error) => {
            return tell(&mut report, &reason(plan, failed("start a process", &error)));
        }
    };
    // Ours must not keep the caller from seeing that B's are closed.
    drop((report, child_report, streams));
    exit_code(child).map_or(i32::from(CANNOT_INVOKE), i32::from)
}

fn tell(report: &mut PipeWriter, refusal: &Refusal) -> i32 {
    // Nobody is left to tell if this fails.
    drop(report.write_all(&[&[refusal.code], refusal.message.as_bytes()].concat()));
    i32::from(refusal.code)
}

/// What was to be entered goes with the container's end, some of it a moment before that is seen.
fn reason(plan: &Plan, refusal: Refusal) -> Refusal {
    if plan.handle.wait(Some(MOMENT)).unwrap_or_default() {
        return Refusal { code: HAS_ENDED, message: String::new() };
    }
    refusal
}

/// Process A: what has to happen before B is born.
fn join(plan: &Plan, single: &SingleThread) -> Step<()> {
    tie_to_parent(plan)?;
    // By the host's paths, so before its mounts are out of sight.
    plan.cgroup.enter(single).map_err(|error| failed("enter the cgroup", &error.chain()))?;
    for limit in &plan.powers.limits {
        setrlimit(limit.resource, limit.soft, limit.hard).map_err(step("set the limits"))?;
    }
    // Until the program is executed, this is a program of the host in the container's sight: its
    // processes must not be able to look into it.
    prctl::set_dumpable(false).map_err(step("hide from the container"))?;
    let all = ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::PROCESS_ID
        | ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::CONTROL_GROUP;
    move_into_thread_name_spaces(plan.handle.fd().as_fd(), all)
        .map_err(|error| failed("enter the container", &error))
}

/// Process B: gives everything up that the container's processes do not have.
fn settle(plan: &Plan, streams: &Streams) -> Step<()> {
    setsid().map_err(step("start a session"))?;
    streams.take_over().map_err(|error| failed("connect the streams", &error))?;
    if plan.tty {
        ioctl_tiocsctty(std::io::stdin()).map_err(|error| failed("take the terminal", &error))?;
    }
    umask(Mode::from_bits_truncate(0o022));
    let denied = |error: Errno| Refusal {
        code: CANNOT_INVOKE,
        message: format!(
            "chdir to cwd ({}): {}",
            plan.workdir.display(),
            error.desc().to_lowercase()
        ),
    };
    chdir(&plan.workdir).map_err(denied)?;
    // A link of the kernel's below /proc leads to wherever a file of ours is open (CVE-2024-21626).
    if !getcwd().is_ok_and(|inside| inside.is_absolute()) {
        return Err(denied(Errno::EPERM));
    }
    let identity = &plan.identity;
    let groups: Vec<Gid> = identity.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    setgroups(&groups).map_err(step("set the groups"))?;
    let system = create_syscall();
    restrict(system.as_ref(), identity, &plan.powers)
        .map_err(|error| failed("give up privileges", &error))?;
    tie_to_parent(plan)
}

/// Whoever ends the command on the host ends it in the container: B goes with A, A with the caller.
fn tie_to_parent(plan: &Plan) -> Step<()> {
    if plan.detach {
        return Ok(());
    }
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(step("tie the process to its caller"))?;
    // The kernel says nothing of a parent that was dead by then.
    if plan.caller.has_ended() {
        return Err(failed("go on", &"the caller was killed"));
    }
    Ok(())
}

/// The same steps in the same order as libcontainer's for the container's first process.
fn restrict(system: &dyn Syscall, identity: &Identity, powers: &Powers) -> anyhow::Result<()> {
    if powers.no_new_privileges {
        prctl::set_no_new_privs()?;
    }
    // libcontainer speaks of another version of nix, whose types have no name here.
    system.set_id(identity.uid.into(), identity.gid.into())?;
    system.close_range(0)?;
    if let Some(filter) = &powers.filter {
        seccomp::initialize_seccomp(&serde_json::from_value(filter.clone())?)?;
    }
    capabilities::reset_effective(system)?;
    let set = serde_json::from_value(serde_json::json!({
        "bounding": powers.capabilities,
        "effective": powers.capabilities,
        "permitted": powers.capabilities,
    }))?;
    capabilities::drop_privileges(&set, system)?;
    Ok(())
}

fn step(what: &'static str) -> impl Fn(Errno) -> Refusal {
    move |error| failed(what, &error)
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> Refusal {
    Refusal { code: CANNOT_INVOKE, message: format!("cannot {what}: {error}") }
}
