//! What all networks of this host share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use twill_core::firewall::choose::Wish;
use twill_net::capabilities::Capabilities;
use twill_net::firewall::Programs;

use crate::firewall::Wall;
use crate::identity::Identity;

/// What stays for as long as the process lives.
#[derive(Debug)]
pub(crate) struct Host {
    identity: Mutex<Identity>,
    pub(crate) capabilities: Capabilities,
    pub(crate) programs: Programs,
    pub(crate) wall: Wall,
    /// Seconds since 1970.
    pub(crate) started: u64,
}

impl Host {
    pub(crate) fn new(
        identity: Identity,
        capabilities: Capabilities,
        (programs, wish): (Programs, Wish),
    ) -> Self {
        let (identity, started) = (Mutex::new(identity), crate::status::now());
        let wall = Wall::new(&programs, wish);
        Self { identity, capabilities, programs, wall, started }
    }

    /// Which host this is.
    pub(crate) fn identity(&self) -> MutexGuard<'_, Identity> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
