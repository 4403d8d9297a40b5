//! The kernel's network of one namespace, through netlink sockets of its own.

mod announce;
mod device;
mod events;
mod family;
mod leftovers;
mod link;
mod local_routes;
mod programs;
mod sight;
mod tables;
mod uplink;
mod wireguard;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError};

use futures::{Stream, TryStreamExt};
use tokio::sync::Mutex;

use crate::Error;
use crate::blocking::socket::Conversation;

pub use device::{lift_of, lifts_for};
pub use events::{Event, Events};
pub use leftovers::MarkedRoute;
pub use local_routes::LocalRoute;
pub use programs::Program;
pub use sight::Packet;
pub use tables::{Dump, Ground};
pub use uplink::Choice;
pub use wireguard::{Device, Met};

/// The network of the namespace in which it was opened, wherever it is used later.
///
/// Clones share its sockets, which are closed with the last of them. Each verb can be repeated: what is
/// already so is success.
#[derive(Clone, Debug)]
pub struct Kernel {
    handle: rtnetlink::Handle,
    /// Held while a table is listed: the kernel lists one at a time for each socket.
    listing: Arc<Mutex<()>>,
    /// For rows, of which there are many.
    rows: Arc<std::sync::Mutex<Conversation>>,
    /// For peers of `WireGuard` devices.
    wires: Arc<std::sync::Mutex<wireguard::Talk>>,
    mended: Arc<Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    devices: AtomicU64,
    addresses: AtomicU64,
}

/// How often something had to be written that was not as it should be, since the kernel was opened.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Mended {
    /// A device was made or changed.
    pub devices: u64,
    /// An address of a device was added or taken away.
    pub addresses: u64,
}

impl Kernel {
    /// Opens the network of the calling thread's namespace.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn open() -> Result<Self, Error> {
        let failed = |source| Error::OpenNetlink { source };
        let (connection, handle, _unsolicited) = rtnetlink::new_connection().map_err(failed)?;
        let rows = Arc::new(Conversation::open().map_err(failed)?.into());
        let wires = Arc::new(wireguard::Talk::open().map_err(failed)?.into());
        tokio::spawn(connection);
        Ok(Self { handle, listing: Arc::default(), rows, wires, mended: Arc::default() })
    }

    /// What [`Self::ensure_device`] had to write so far.
    #[must_use]
    pub fn mended(&self) -> Mended {
        let Tally { devices, addresses } = &*self.mended;
        Mended { devices: devices.load(Relaxed), addresses: addresses.load(Relaxed) }
    }

    /// All rows of a table; `ask` sends the request.
    ///
    /// In a task of its own, so that a listing whose reader has gone is read to its end before the
    /// next one begins.
    async fn list<T, S>(
        &self,
        table: &'static str,
        ask: impl FnOnce(&rtnetlink::Handle) -> S + Send + 'static,
    ) -> Result<Vec<T>, Error>
    where
        T: Send + 'static,
        S: Stream<Item = Result<T, rtnetlink::Error>> + Send,
    {
        let Self { handle, listing, .. } = self.clone();
        let rows = tokio::spawn(async move {
            let _alone = listing.lock().await;
            ask(&handle).try_collect().await.map_err(reason)
        });
        let rows = rows.await.unwrap_or_else(|died| Err(io::Error::other(died)));
        rows.map_err(|source| Error::List { table, source })
    }

    /// Talks with the kernel about rows, in a thread that may wait for it. What has begun goes on to its
    /// end, whether anybody waits for the answer or not.
    async fn converse<T: Send + 'static>(
        &self,
        talk: impl FnOnce(&mut Conversation) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let rows = Arc::clone(&self.rows);
        let talk = tokio::task::spawn_blocking(move || {
            talk(&mut rows.lock().unwrap_or_else(PoisonError::into_inner))
        });
        talk.await.unwrap_or_else(|died| Err(io::Error::other(died)))
    }
}

/// What the kernel said, as an error number where it gave one.
fn reason(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}

/// Turns the error numbers that say "already so" into success.
fn unless(result: Result<(), rtnetlink::Error>, already: &[i32]) -> io::Result<()> {
    match result.map_err(reason) {
        Err(error) if error.raw_os_error().is_some_and(|code| already.contains(&code)) => Ok(()),
        other => other,
    }
}
