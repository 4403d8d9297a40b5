//! From nothing to a place in the network: configuration, uplink, subnet.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use twill_core::config::{Backend, NetworkConfig};
use twill_core::device::{DeviceSpec, Uplink, device};
use twill_core::ids::{Mac, Subnet, Underlay};
use twill_core::lease::{Lease, Listing};
use twill_core::peers::Own;
use twill_net::Kernel;
use twill_net::capabilities::Capabilities;
use twill_net::firewall::Firewall;
use twill_net::kernel::{Choice, LocalRoute};
use twill_store::{Held, Store};

use crate::claim::Wish;
use crate::clash::{Overlay, clashes, is_tunnel};
use crate::failure::Failure;
use crate::flags::{Address, Flags};
use crate::identity::Identity;
use crate::lock::Lock;
use crate::patience::Network;
use crate::publish;
use crate::status::Board;

/// What stays for as long as the process lives.
#[derive(Debug)]
pub(crate) struct Agent<S> {
    pub(crate) flags: Flags,
    pub(crate) identity: Identity,
    pub(crate) capabilities: Capabilities,
    pub(crate) kernel: Kernel,
    pub(crate) firewall: Firewall,
    pub(crate) store: S,
    pub(crate) board: Board,
    /// Seconds since 1970.
    pub(crate) started: u64,
    /// On the tunnel device, once it is known which one that is.
    pub(crate) device: Mutex<Option<Lock>>,
}

/// This host's place in the network, until its lease or its uplink changes.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(crate) wish: Wish,
    pub(crate) uplink: Uplink,
    pub(crate) held: Held,
    /// When etcd granted it.
    pub(crate) since: Instant,
    pub(crate) spec: DeviceSpec,
    /// Everybody's leases just before the claim.
    pub(crate) listing: Listing,
    /// Other leases of this host, to be revoked.
    pub(crate) withdraw: Vec<Lease>,
}

/// What this host is like, and when we looked.
struct Here {
    uplink: Uplink,
    routes: Vec<LocalRoute>,
    read: Instant,
}

/// After this time it pays to look again.
const STALE: Duration = Duration::from_secs(1);

impl Membership {
    /// This host's block.
    pub(crate) fn subnet(&self) -> Subnet {
        self.held.lease.subnet()
    }

    /// What tells our lease from the others'.
    pub(crate) fn own(&self) -> Own {
        Own {
            node: self.wish.node,
            network: self.wish.config.network,
            subnet: self.subnet(),
            public_ip: self.wish.public_ip,
            mac: self.wish.mac,
            backend: self.wish.config.backend.clone(),
        }
    }
}

impl<S: Store> Agent<S> {
    /// Waits for a configuration, as long as it takes, and takes a subnet. Nothing but the lease and
    /// leftovers of an earlier configuration is changed.
    pub(crate) async fn join(&self) -> Result<Membership, Failure> {
        loop {
            if let Some(membership) = self.try_join().await? {
                return Ok(membership);
            }
            tracing::info!("the network configuration has changed, reading it again");
        }
    }

    /// `None` if the configuration changed under us.
    async fn try_join(&self) -> Result<Option<Membership>, Failure> {
        let ((network, listing), mut here) = tokio::try_join!(self.network(), self.here())?;
        let Network { config, written } = network;
        // etcd may have taken its time, and this host moves on meanwhile.
        if here.read.elapsed() > STALE {
            here = self.here().await?;
        }
        let Here { uplink, routes, .. } = here;
        if matches!(config.backend, Backend::Udp(_)) {
            self.capabilities.need_tun()?;
        }
        self.lock(&device_name(&config))?;
        if let Backend::Udp(udp) = &config.backend {
            twill_tunnel::check_port(uplink.address, udp.port)?;
        }
        let mac = self.mac(&config).await?;
        // Fails early: nothing depends on which subnet it will be.
        spec(&config, &uplink, (config.subnet_min, mac))?;
        let previous = publish::previous(&self.flags.files).map(|env| env.subnet);
        let wish = Wish {
            public_ip: self.flags.address.public_ip.unwrap_or(uplink.address),
            node: self.identity.node,
            mac,
            previous,
            local_routes: routes
                .iter()
                .filter(|route| !is_tunnel(&route.name))
                .map(|route| route.block)
                .collect(),
            written: Some(written),
            config,
        };
        self.clear_the_way(&wish, (&listing, &routes)).await?;
        let since = Instant::now();
        let Some((choice, held, listing)) = self.claim(&wish, listing).await? else {
            return Ok(None);
        };
        tracing::info!(subnet = %choice.subnet, why = %choice.reason, "lease acquired");
        let spec = spec(&wish.config, &uplink, (choice.subnet, mac))?;
        let withdraw = choice.withdraw;
        Ok(Some(Membership { wish, uplink, held, since, spec, listing, withdraw }))
    }

    async fn here(&self) -> Result<Here, Failure> {
        let (read, choice) = (Instant::now(), choice(&self.flags.address));
        // One after the other: the kernel gives one listing at a time on one socket.
        let uplink = self.kernel.uplink(&choice).await?;
        let routes = self.kernel.local_routes().await?;
        Ok(Here { uplink, routes, read })
    }

    /// Refuses a network that collides with one of this host's own, and removes the devices of
    /// another backend of this very network.
    async fn clear_the_way(
        &self,
        wish: &Wish,
        (listing, routes): (&Listing, &[LocalRoute]),
    ) -> Result<(), Failure> {
        let ours = |lease: &&Lease| lease.value.node == Some(wish.node);
        let mut own: Vec<Subnet> = listing.leases.iter().filter(ours).map(Lease::subnet).collect();
        own.extend(wish.previous);
        let (network, device) = (wish.config.network, device_name(&wish.config));
        let found = clashes(Overlay { network, device: &device, own: &own }, routes);
        if let Some(LocalRoute { block, name, .. }) = found.foreign {
            let text = format!("overlay network {network} overlaps {block} on {name}");
            return Err(Failure::refused(anyhow::Error::msg(text)).hint(
                "choose another Network with `twillctl network init`, or remove that route or address",
            ));
        }
        for name in found.leftovers {
            tracing::warn!(device = name, "removing the device of an earlier configuration");
            self.kernel.drop_device(&name).await?;
        }
        Ok(())
    }

    /// Before the claim, because a second lease with our address would lead our peers astray.
    fn lock(&self, device: &str) -> Result<(), Failure> {
        let mut held = self.device.lock().unwrap_or_else(PoisonError::into_inner);
        if !held.as_ref().is_some_and(|lock| lock.is_on(device)) {
            *held = Some(Lock::device(device)?);
        }
        Ok(())
    }

    async fn mac(&self, config: &NetworkConfig) -> Result<Option<Mac>, Failure> {
        match &config.backend {
            Backend::Udp(_) => Ok(None),
            Backend::Vxlan(_) => {
                let there = self.kernel.vxlan_mac(&device_name(config)).await?;
                self.identity.mac(there).map(Some)
            }
        }
    }
}

/// What the administrator said about the interface.
pub(crate) fn choice(address: &Address) -> Choice {
    Choice {
        interfaces: address.iface.clone(),
        patterns: address.iface_regex.clone(),
        can_reach: address.iface_can_reach.map(|Underlay(address)| address),
        public_ip: address.public_ip.map(|Underlay(address)| address),
    }
}

fn device_name(config: &NetworkConfig) -> String {
    match &config.backend {
        Backend::Udp(_) => "flannel0".to_owned(),
        Backend::Vxlan(vxlan) => format!("flannel.{}", vxlan.vni),
    }
}

fn spec(
    config: &NetworkConfig,
    uplink: &Uplink,
    (subnet, mac): (Subnet, Option<Mac>),
) -> Result<DeviceSpec, Failure> {
    // `udp` has no hardware address, and does not look at it.
    let spec = device(config, uplink, subnet, mac.unwrap_or(Mac([0; 6])));
    spec.map_err(|error| {
        let context = format!("interface {} cannot carry the tunnel", uplink.name);
        let error = anyhow::Error::new(error).context(context);
        Failure::refused(error).hint("raise its MTU, or choose another interface with --iface")
    })
}
