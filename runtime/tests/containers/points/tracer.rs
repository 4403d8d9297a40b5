//! Follows a command with ptrace(2) and strikes at one of the changes that it makes to the system.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// For a command with whatever it waits for.
const LIMIT: Duration = Duration::from_secs(30);

/// Who dies at the point.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Victim {
    /// Who was about to make the change.
    One,
    /// Everybody whom the command has started, as when a host loses its power.
    All,
}

/// What became of a command.
#[derive(Debug)]
pub(crate) struct Traced {
    /// How many changes were begun, up to the strike.
    pub(crate) points: usize,
    /// The system call that was not made any more.
    pub(crate) struck: Option<String>,
    /// It had to be killed because it did not end.
    pub(crate) hung: bool,
}

/// Runs `command` to its end, or until `at` strikes; whoever it leaves behind goes on unfollowed.
pub(crate) fn run(command: &Command, at: Option<(usize, Victim)>) -> Traced {
    let mut stopped = stopped(command);
    // Whoever is followed is let go when the thread that follows it ends.
    let follow = move || {
        #[expect(clippy::zombie_processes, reason = "the loop below waits for everybody")]
        let child = stopped.spawn().unwrap();
        let child = Pid::from_raw(i32::try_from(child.id()).unwrap());
        let (done, over) = channel::<()>();
        let watch = thread::spawn(move || {
            let hung = over.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout);
            if hung {
                _ = kill(child, Signal::SIGKILL);
            }
            hung
        });
        let mut tracer = Tracer { at, ..Tracer::default() };
        tracer.follow(child);
        drop(done);
        let hung = watch.join().unwrap();
        Traced { points: tracer.points, struck: tracer.struck, hung }
    };
    thread::spawn(follow).join().unwrap()
}

/// The same command, which waits to be followed first.
fn stopped(command: &Command) -> Command {
    let mut stopped = super::program("sh");
    stopped.args(["-c", r#"kill -STOP $$; exec "$0" "$@""#]);
    stopped.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => stopped.env(name, value),
            None => stopped.env_remove(name),
        };
    }
    stopped.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    stopped
}

#[derive(Default)]
struct Tracer {
    at: Option<(usize, Victim)>,
    /// Is it the command by now, and not the shell that waited?
    begun: bool,
    points: usize,
    struck: Option<String>,
    followed: BTreeSet<Pid>,
}

impl Tracer {
    fn follow(&mut self, child: Pid) {
        let stop = waitpid(child, Some(WaitPidFlag::WUNTRACED)).unwrap();
        assert_eq!(stop, WaitStatus::Stopped(child, Signal::SIGSTOP));
        let children = Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACECLONE;
        let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACEEXEC | children;
        ptrace::seize(child, options).unwrap();
        kill(child, Signal::SIGCONT).unwrap();
        let own = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        loop {
            let Ok(status) = waitpid(None, Some(own)) else { return };
            let signal = match status {
                WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, _, _) if pid == child => {
                    return;
                }
                WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, _, _) => {
                    self.followed.remove(&pid);
                    continue;
                }
                WaitStatus::PtraceSyscall(pid) => {
                    self.look(pid);
                    None
                }
                WaitStatus::Stopped(_, signal) => Some(signal),
                WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_EXEC) => {
                    self.begun = true;
                    None
                }
                _event => None,
            };
            let pid = status.pid().unwrap();
            self.followed.insert(pid);
            let gone_on = match self.struck {
                None => ptrace::syscall(pid, signal),
                Some(_) => ptrace::cont(pid, signal),
            };
            // Somebody else may have killed it by now.
            assert!(matches!(gone_on, Ok(()) | Err(Errno::ESRCH)), "{pid}: {gone_on:?}");
        }
    }

    /// At the beginning or the end of a system call.
    fn look(&mut self, pid: Pid) {
        let Some(change) = Call::begun_by(pid).and_then(Call::change) else { return };
        if self.struck.is_some() || !self.begun {
            return;
        }
        self.points += 1;
        let Some((at, victim)) = self.at.filter(|(at, _)| *at == self.points) else { return };
        self.struck = Some(format!("{change}, the change no. {at}"));
        let victims = match victim {
            Victim::One => BTreeSet::from([pid]),
            Victim::All => self.followed.clone(),
        };
        for victim in victims {
            _ = kill(victim, Signal::SIGKILL);
        }
    }
}

/// A system call that is about to be made.
struct Call {
    pid: Pid,
    number: i64,
    arguments: [u64; 4],
}

impl Call {
    fn begun_by(pid: Pid) -> Option<Self> {
        let registers = ptrace::getregs(pid).ok()?;
        // What the kernel puts there before it has looked at the call.
        let begins = registers.rax.cast_signed() == -i64::from(libc::ENOSYS);
        let arguments = [registers.rdi, registers.rsi, registers.rdx, registers.r10];
        let number = registers.orig_rax.cast_signed();
        begins.then_some(Self { pid, number, arguments })
    }

    /// Its name, if it changes anything that others can see.
    fn change(self) -> Option<String> {
        let named = CHANGES.iter().find(|(number, _)| *number == self.number);
        if let Some((_, name)) = named {
            return Some((*name).to_owned());
        }
        match self.number {
            libc::SYS_openat => creates(self.arguments[2]).then(|| "openat".to_owned()),
            libc::SYS_open => creates(self.arguments[1]).then(|| "open".to_owned()),
            libc::SYS_write | libc::SYS_pwrite64 | libc::SYS_writev => self.writes(),
            _ => None,
        }
    }

    fn writes(&self) -> Option<String> {
        let link = format!("/proc/{}/fd/{}", self.pid, self.arguments[0]);
        let file = fs::read_link(link).ok()?;
        let is_seen =
            file.is_absolute() && !["/dev", "/proc"].iter().any(|it| file.starts_with(it));
        is_seen.then(|| format!("write to {}", file.display()))
    }
}

fn creates(flags: u64) -> bool {
    let wanted = u64::try_from(libc::O_CREAT | libc::O_TRUNC).unwrap();
    flags & wanted != 0
}

/// By their numbers on this machine.
const CHANGES: [(i64, &str); 47] = [
    (libc::SYS_rename, "rename"),
    (libc::SYS_renameat, "renameat"),
    (libc::SYS_renameat2, "renameat2"),
    (libc::SYS_mkdir, "mkdir"),
    (libc::SYS_mkdirat, "mkdirat"),
    (libc::SYS_rmdir, "rmdir"),
    (libc::SYS_unlink, "unlink"),
    (libc::SYS_unlinkat, "unlinkat"),
    (libc::SYS_link, "link"),
    (libc::SYS_linkat, "linkat"),
    (libc::SYS_symlink, "symlink"),
    (libc::SYS_symlinkat, "symlinkat"),
    (libc::SYS_mknod, "mknod"),
    (libc::SYS_mknodat, "mknodat"),
    (libc::SYS_truncate, "truncate"),
    (libc::SYS_ftruncate, "ftruncate"),
    (libc::SYS_copy_file_range, "copy_file_range"),
    (libc::SYS_sendfile, "sendfile"),
    (libc::SYS_fallocate, "fallocate"),
    (libc::SYS_fsync, "fsync"),
    (libc::SYS_fdatasync, "fdatasync"),
    (libc::SYS_setxattr, "setxattr"),
    (libc::SYS_fsetxattr, "fsetxattr"),
    (libc::SYS_mount, "mount"),
    (libc::SYS_umount2, "umount2"),
    (libc::SYS_fsmount, "fsmount"),
    (libc::SYS_fsconfig, "fsconfig"),
    (libc::SYS_move_mount, "move_mount"),
    (libc::SYS_open_tree, "open_tree"),
    (libc::SYS_mount_setattr, "mount_setattr"),
    (libc::SYS_pivot_root, "pivot_root"),
    (libc::SYS_unshare, "unshare"),
    (libc::SYS_setns, "setns"),
    (libc::SYS_fork, "fork"),
    (libc::SYS_vfork, "vfork"),
    (libc::SYS_clone, "clone"),
    (libc::SYS_clone3, "clone3"),
    (libc::SYS_execve, "execve"),
    (libc::SYS_execveat, "execveat"),
    (libc::SYS_bind, "bind"),
    (libc::SYS_connect, "connect"),
    (libc::SYS_sendto, "sendto"),
    (libc::SYS_sendmsg, "sendmsg"),
    (libc::SYS_sendmmsg, "sendmmsg"),
    (libc::SYS_kill, "kill"),
    (libc::SYS_pidfd_send_signal, "pidfd_send_signal"),
    (libc::SYS_utimensat, "utimensat"),
];
