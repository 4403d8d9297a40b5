//! The interface to the other hosts and the routes that are there before us, for each family of a network.

use std::time::Duration;

use tokio::time::Instant;
use twill_core::config::NetworkConfig;
use twill_core::device::Uplink;
use twill_core::ids::{Family, Subnet, Underlay};
use twill_core::lease::Lease;
use twill_net::kernel::{Choice, LocalRoute};
use twill_store::Store;

use super::Agent;
use crate::failure::Failure;
use crate::flags::Address;
use crate::network::{From, Network};
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

    fn families(&self) -> impl Iterator<Item = Family> {
        self.uplinks.iter().map(|uplink| Family::of(uplink.address.0))
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

    /// This host as one in that network, which it read from there; or as one in the network before, if it has
    /// no address of a family that came since and may go on.
    ///
    /// One that has a lease of both families goes on with the address of IPv6 that peers know, whether it
    /// is there or not: IPv4 has to be looked after, and the other one may come back.
    pub(super) async fn here_in(
        &self,
        network: Network,
        from: &From,
        here: Here,
    ) -> Result<(Network, Here), Failure> {
        let wanted: Vec<Family> = families(&network.config).collect();
        // etcd may have taken its time, and this host moves on meanwhile.
        if !here.is_stale() && here.families().eq(wanted.iter().copied()) {
            return Ok((network, here));
        }
        let lease = self.own_lease(&network, from);
        let failure = match self.here_as(&wanted, lease.as_ref()).await {
            Ok(here) => return Ok((network, here)),
            Err(failure) => failure,
        };
        let others = |before: &Network| !families(&before.config).eq(wanted.iter().copied());
        let Some(before) = network.before.filter(|before| others(before)) else {
            return Err(failure);
        };
        let families: Vec<Family> = families(&before.config).collect();
        // The newest one is what people look at.
        let here = self.here(&families).await.map_err(|_neither| failure)?;
        tracing::warn!(
            revision = %before.written,
            "this host cannot go by the newest configuration, and goes on by the one before"
        );
        Ok((*before, here))
    }

    pub(super) async fn here(&self, families: &[Family]) -> Result<Here, Failure> {
        self.here_as(families, None).await
    }

    async fn here_as(&self, families: &[Family], own: Option<&Lease>) -> Result<Here, Failure> {
        let read = Instant::now();
        let (mut uplinks, mut routes): (Vec<Uplink>, _) = (Vec::new(), Vec::new());
        // One after the other: the kernel gives one listing at a time on one socket.
        for family in families {
            let choice = choice(&self.flags.address, *family, uplinks.first());
            let uplink = match self.kernel.uplink(&choice).await {
                Ok(uplink) => uplink,
                Err(away) => {
                    let half = own.and_then(|lease| lease.half(*family));
                    let known = half.zip(uplinks.first());
                    let (half, beside) = known.ok_or(away)?;
                    Uplink { address: half.value.public_ip, ..beside.clone() }
                }
            };
            uplinks.push(uplink);
            routes.extend(self.kernel.local_routes(*family).await?);
        }
        Ok(Here { uplinks, routes, read })
    }

    /// The lease that this host has in that network.
    fn own_lease(&self, network: &Network, from: &From) -> Option<Lease> {
        if let From::Memory(recalled) = from {
            return Some(recalled.held.lease.clone());
        }
        let node = self.identity().node;
        let mut leases = from.listing().leases.iter();
        let ours =
            |lease: &&Lease| lease.value.node == Some(node) && network.config.admits(lease.key);
        leases.find(ours).cloned()
    }

    /// Is that address on an interface of this host?
    pub(crate) async fn has(&self, Underlay(address): Underlay) -> bool {
        let choice = Choice { public_ip: Some(address), ..Choice::any(Family::of(address)) };
        self.kernel.uplink(&choice).await.is_ok()
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
