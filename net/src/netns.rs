//! Network namespaces: a handle that keeps one open, and the only switch between them.
//!
//! A socket belongs to the namespace it was born in. Code here therefore does not travel: it opens
//! one socket per namespace up front ([`Netns::run`] on a thread made for it) and passes sockets.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::panic;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::MutexGuard;
use std::thread;

use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::fstatfs;

/// The file system that the kernel's namespace files live in: `NSFS_MAGIC` of `linux/magic.h`.
const NSFS_MAGIC: i64 = 0x6e73_6673;

/// Why a namespace could not be opened, made, kept or entered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path does not lead to a file that can be opened.
    #[error("cannot open network namespace {path}")]
    Open {
        /// Where it should be.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// The path leads to an ordinary file: its namespace is gone, or never was.
    #[error("{path} is not a network namespace")]
    NotANamespace {
        /// What was opened.
        path: PathBuf,
    },
    /// No new namespace, for lack of rights or of room.
    #[error("cannot make a network namespace")]
    Make {
        /// What the kernel says.
        source: io::Error,
    },
    /// No thread to enter it on.
    #[error("cannot start a thread for network namespace {path}")]
    Thread {
        /// The namespace.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// The kernel does not let us in.
    #[error("cannot enter network namespace {path}")]
    Enter {
        /// The namespace.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// The namespace cannot be given a name in the file system, or the name not be taken away.
    #[error("cannot bind a network namespace to {path}")]
    Pin {
        /// The name.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
}

/// An open network namespace. It lives at least as long as this handle.
#[derive(Debug)]
pub struct Netns {
    file: File,
    path: PathBuf,
}

/// What tells one living namespace from another: device and inode number of its file.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Identity {
    /// The device that the kernel's namespace files are on.
    pub device: u64,
    /// The number of the namespace's file.
    pub inode: u64,
}

impl Netns {
    /// The namespace of the calling thread.
    pub fn current() -> Result<Self, Error> {
        Self::open("/proc/thread-self/ns/net").map(Self::known_by_descriptor)
    }

    /// The namespace of a process.
    pub fn of_process(pid: u32) -> Result<Self, Error> {
        Self::open(format!("/proc/{pid}/ns/net"))
    }

    /// The namespace at `path`: a file below `/proc`, or one that a namespace is bound to.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let failed = |source| Error::Open { path: path.clone(), source };
        // To open a pipe in its place must not wait for whoever writes into it.
        let patience = OFlag::O_NONBLOCK.bits();
        let opened = OpenOptions::new().read(true).custom_flags(patience).open(&path);
        let file = opened.map_err(failed)?;
        let kind = fstatfs(&file).map_err(|errno| failed(errno.into()))?.filesystem_type();
        if kind.0 != NSFS_MAGIC {
            return Err(Error::NotANamespace { path });
        }
        Ok(Self { file, path })
    }

    /// A new namespace with nothing in it but a loopback interface that is down. It has no name:
    /// it is gone when the last handle, socket and process in it are.
    pub fn unnamed() -> Result<Self, Error> {
        let made = thread::scope(|scope| {
            let work = || {
                unshare(CloneFlags::CLONE_NEWNET)
                    .map_err(|errno| Error::Make { source: errno.into() })?;
                Self::current()
            };
            let thread = thread::Builder::new().spawn_scoped(scope, work);
            Ok(thread.map_err(|source| Error::Make { source })?.join())
        });
        made?.unwrap_or_else(|panic| panic::resume_unwind(panic))
    }

    /// Where this handle was opened. For one that has no name of its own this is the descriptor,
    /// `/proc/<pid>/fd/<n>`, which other processes can open for as long as the handle lives.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tells whether two handles are of one namespace, also across processes.
    pub fn identity(&self) -> Result<Identity, Error> {
        let metadata = self.file.metadata();
        let metadata =
            metadata.map_err(|source| Error::Open { path: self.path.clone(), source })?;
        Ok(Identity { device: metadata.dev(), inode: metadata.ino() })
    }

    /// Does `work` inside the namespace, on a thread made for it that ends with it. A panic in
    /// `work` goes on in the caller.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        let done = thread::scope(|scope| {
            let work = || {
                self.switch()?;
                Ok(work())
            };
            let thread = thread::Builder::new().spawn_scoped(scope, work);
            let thread =
                thread.map_err(|source| Error::Thread { path: self.path.clone(), source })?;
            Ok(thread.join())
        });
        done?.unwrap_or_else(|panic| panic::resume_unwind(panic))
    }

    /// Moves the calling thread, and no other, into the namespace until the guard is dropped.
    pub fn enter(&self) -> Result<Entered, Error> {
        let home = Self::current()?;
        self.switch()?;
        Ok(Entered { home, not_send: PhantomData })
    }

    /// Binds the namespace to `path`, a file made for it, so that it outlives this process.
    /// Whatever was bound there before is unbound. The directory must exist.
    pub fn pin(&self, path: &Path) -> Result<(), Error> {
        unpin(path)?;
        let failed = |source| Error::Pin { path: path.to_owned(), source };
        OpenOptions::new().create_new(true).write(true).open(path).map_err(failed)?;
        let source = PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        let bound = mount(Some(&source), path, None::<&str>, MsFlags::MS_BIND, None::<&str>);
        bound.map_err(|errno| {
            // The empty file would look like a namespace that is gone; the first cause matters.
            drop(fs::remove_file(path));
            failed(errno.into())
        })
    }

    fn switch(&self) -> Result<(), Error> {
        setns(&self.file, CloneFlags::CLONE_NEWNET)
            .map_err(|errno| Error::Enter { path: self.path.clone(), source: errno.into() })
    }

    fn known_by_descriptor(self) -> Self {
        let path = format!("/proc/{}/fd/{}", process::id(), self.file.as_raw_fd());
        Self { path: path.into(), ..self }
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Takes away what [`Netns::pin`] made. A path at which nothing is left is a success.
pub fn unpin(path: &Path) -> Result<(), Error> {
    let failed = |source| Error::Pin { path: path.to_owned(), source };
    // More than one bind can lie over another when a process was killed at the wrong moment.
    loop {
        match umount2(path, MntFlags::MNT_DETACH) {
            Ok(()) => {}
            // EINVAL: a file that is no mount point.
            Err(nix::Error::ENOENT | nix::Error::EINVAL) => break,
            Err(errno) => return Err(failed(errno.into())),
        }
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
        _gone => Ok(()),
    }
}

/// The calling thread is in another namespace; dropping this takes it back.
#[derive(Debug)]
#[must_use = "the thread returns to its own namespace when this is dropped"]
pub struct Entered {
    home: Netns,
    // Another thread that dropped the guard would move itself, and leave this one abroad.
    not_send: PhantomData<MutexGuard<'static, ()>>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Err(error) = self.home.switch()
            && !thread::panicking()
        {
            panic!("the thread cannot return to its own network namespace: {error}");
        }
    }
}

/// A network of its own for one test: the calling thread sits in a fresh namespace with loopback
/// up until this is dropped.
///
/// ```
/// # use twill_net::netns::Scratch;
/// # fn main() -> Result<(), twill_net::netns::Error> {
/// let Some(scratch) = Scratch::enter() else { return Ok(()) };
/// // … make links, routes and rules: nobody else sees them …
/// let container = scratch.another(); // a second namespace; a child may open `container.path()`
/// container.run(|| { /* on a thread inside the second namespace */ })?;
/// # Ok(())
/// # }
/// ```
///
/// No name is fixed and nothing has to be cleaned: the kernel takes a namespace away with the
/// process, however it ends. Children started by the thread are born in the namespace.
#[derive(Debug)]
pub struct Scratch {
    _entered: Entered,
}

impl Scratch {
    /// Enters a fresh namespace; `None`, said aloud on stderr, when we are not root.
    ///
    /// # Panics
    ///
    /// Without root when `REQUIRE_ROOT=1`, and when the kernel refuses: a test cannot go on.
    #[must_use = "a test without its namespace has to end"]
    #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
    pub fn enter() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            let required = std::env::var_os("REQUIRE_ROOT").is_some_and(|value| value == "1");
            assert!(!required, "REQUIRE_ROOT=1, but this test runs without root");
            eprintln!("SKIPPED: this test needs root, for a network namespace of its own");
            return None;
        }
        let entered = fresh().and_then(|netns| netns.enter());
        Some(Self { _entered: entered.unwrap_or_else(|error| panic!("{error}: {error:?}")) })
    }

    /// One more namespace with loopback up, which is not entered.
    ///
    /// # Panics
    ///
    /// When the kernel refuses.
    #[must_use = "the namespace is gone when this is dropped"]
    pub fn another(&self) -> Netns {
        fresh().unwrap_or_else(|error| panic!("{error}: {error:?}"))
    }
}

fn fresh() -> Result<Netns, Error> {
    let netns = Netns::unnamed()?;
    netns.run(loopback_up)?.map_err(|error| Error::Make { source: io::Error::other(error) })?;
    Ok(netns)
}

fn loopback_up() -> Result<(), crate::blocking::Error> {
    crate::blocking::Kernel::here()?.ensure_loopback()
}
