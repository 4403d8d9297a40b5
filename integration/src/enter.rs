//! Enters namespaces, each time on a thread made for it that ends there: nothing has to be
//! restored, and no other thread of the process ever moves.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command};
use std::thread;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};

/// Runs `work` inside the network namespace at `path`. Sockets made there stay there, so they
/// may be carried out and used anywhere.
///
/// # Errors
/// Of entering, or whatever `work` answers.
pub fn within<T: Send>(path: &Path, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    on_a_thread_in(path, CloneFlags::CLONE_NEWNET, work)
}

/// Starts a child whose processes are those of the PID namespace at `path`.
pub(crate) fn spawn_in(path: &Path, mut command: Command) -> Result<Child> {
    on_a_thread_in(path, CloneFlags::CLONE_NEWPID, || {
        command.spawn().with_context(|| format!("cannot start {command:?}"))
    })
}

/// Moves this very process, which must have one thread only, into the namespaces `names` of the
/// process whose `/proc` directory is `of`. The mount namespace must be the last of them.
pub(crate) fn become_part_of(of: &Path, names: &[&str]) -> Result<()> {
    let open = |name: &&str| {
        let path = of.join("ns").join(name);
        File::open(&path).with_context(|| format!("cannot open {}", path.display()))
    };
    let files: Vec<File> = names.iter().map(open).collect::<Result<_>>()?;
    for (file, name) in files.iter().zip(names) {
        enter(file, CloneFlags::empty()).with_context(|| format!("cannot enter {name}"))?;
    }
    Ok(())
}

fn on_a_thread_in<T: Send>(
    path: &Path,
    kind: CloneFlags,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let inside = move || {
        enter(&file, kind).with_context(|| format!("cannot enter {}", path.display()))?;
        work()
    };
    thread::scope(|scope| scope.spawn(inside).join())
        .map_err(|panic| anyhow!("the thread in {} panicked: {panic:?}", path.display()))?
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place, on a thread or in a child of its own"
)]
fn enter(namespace: &File, kind: CloneFlags) -> nix::Result<()> {
    setns(namespace, kind)
}
