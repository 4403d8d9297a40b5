//! Tells that somebody changed the host's rules, so that ours are looked at at once.

use std::future::{pending, poll_fn};

use futures::FutureExt;
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{AsyncSocket, SocketAddr, TokioSocket};
use nix::libc;

use crate::Error;

/// `NFNLGRP_NFTABLES` of `linux/netfilter/nfnetlink.h`, as a bit of the socket's address.
const NFTABLES_GROUP: u32 = 1 << (7 - 1);

/// Room for the beginning of a message; what it says does not matter.
const ENOUGH: usize = 512;

/// The changes of one namespace's nftables rules, from the moment this was opened.
pub struct Watch {
    socket: TokioSocket,
    buffer: Vec<u8>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

impl Watch {
    pub(super) fn open() -> Result<Self, Error> {
        let failed = |source| Error::WatchRules { source };
        let mut socket = <TokioSocket as AsyncSocket>::new(NETLINK_NETFILTER).map_err(failed)?;
        socket.socket_mut().bind(&SocketAddr::new(0, NFTABLES_GROUP)).map_err(failed)?;
        Ok(Self { socket, buffer: Vec::with_capacity(ENOUGH) })
    }

    /// Returns when rules have changed, anybody's and our own too; many changes are told once. The
    /// future can be dropped at any moment. It never ends if the socket breaks: there is a timer.
    pub async fn changed(&mut self) {
        if !self.message().await {
            pending::<()>().await;
        }
        while let Some(true) = self.message().now_or_never() {}
    }

    /// Waits for one; `false` if there will never be another.
    async fn message(&mut self) -> bool {
        let Self { socket, buffer } = self;
        buffer.clear();
        match poll_fn(|context| socket.poll_recv_from(context, buffer)).await {
            Ok(_kernel) => true,
            Err(error) => {
                // More than the socket could hold is a change as well.
                matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM | libc::EINTR))
            }
        }
    }
}
