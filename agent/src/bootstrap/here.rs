//! The interface to the other hosts and the routes that are there before us, for each family of a network.

use std::time::Duration;

use tokio::time::Instant;
use twill_core::config::NetworkConfig;
use twill_core::device::Uplink;
use twill_core::ids::{Family, Subnet};
use twill_net::kernel::{Choice, LocalRoute};
use twill_store::Store;

use super::Agent;
use crate::failure::Failure;
use crate::flags::Address;
use crate::setup::Setup;

/// What this host is like, and when we looked.
pub(super) struct Here {
    /// For each family, IPv4 first.
    pub(super) uplinks: Vec<Uplink>,
    pub(super) routes: Vec<LocalRoute>,
    read: Instant,
}

/// After this time it pays to look again.
const STALE: Duration = Duration::from_secs(1);

impl Here {
    /// This host may be another by now.
    pub(super) fn is_stale(&self) -> bool {
        self.read.elapsed() > STALE
    }
}

impl<S: Store> Agent<S> {
    /// Before it is known of which family the network is: mostly of IPv4.
    pub(super) async fn here_at_all(&self) -> Result<Here, Failure> {
        match self.here(&[Family::V4]).await {
            Ok(here) => Ok(here),
            Err(failure) => self.here(&[Family::V6]).await.map_err(|_neither| failure),
        }
    }

    /// Fails if this host could not join a network of such families as it is now.
    pub(crate) async fn could_join(&self, config: &NetworkConfig) -> Result<(), Failure> {
        let families: Vec<Family> = families(config).collect();
        self.here(&families).await.map(drop)
    }

    pub(super) async fn here(&self, families: &[Family]) -> Result<Here, Failure> {
        let read = Instant::now();
        let (mut uplinks, mut routes): (Vec<Uplink>, _) = (Vec::new(), Vec::new());
        // One after the other: the kernel gives one listing at a time on one socket.
        for family in families {
            let choice = choice(&self.flags.address, *family, uplinks.first());
            uplinks.push(self.kernel.uplink(&choice).await?);
            routes.extend(self.kernel.local_routes(*family).await?);
        }
        Ok(Here { uplinks, routes, read })
    }
}

/// The families of a network, IPv4 first.
pub(super) fn families(config: &NetworkConfig) -> impl Iterator<Item = Family> + use<> {
    config.networks().map(Subnet::family)
}

/// What the administrator said about the interface, for each family of the network.
pub(crate) fn choices(address: &Address, setup: &Setup) -> Vec<Choice> {
    let first = &setup.side.uplink;
    let mut beside = None;
    let mut choices = Vec::new();
    for family in families(&setup.config) {
        choices.push(choice(address, family, beside));
        beside = Some(first);
    }
    choices
}

/// For one family; the other one's is to be on the same interface, unless it is said which address it has to
/// reach.
pub(crate) fn choice(address: &Address, family: Family, beside: Option<&Uplink>) -> Choice {
    let can_reach = address.iface_can_reach.filter(|address| Family::of(*address) == family);
    let public_ip = address.public(family);
    match beside {
        Some(beside) if can_reach.is_none() => {
            Choice { interfaces: vec![beside.name.clone()], public_ip, ..Choice::any(family) }
        }
        _alone => Choice {
            family,
            interfaces: address.iface.clone(),
            patterns: address.iface_regex.clone(),
            can_reach,
            public_ip,
        },
    }
}
