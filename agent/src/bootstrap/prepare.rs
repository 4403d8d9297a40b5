//! What this host is like, and what it wants to be in the network.

use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;
use twill_core::config::{Backend, NetworkConfig};
use twill_core::device::Uplink;
use twill_core::extension::Command;
use twill_core::ids::{Family, Mac, Revision, Subnet, Underlay};
use twill_core::lease::{Lease, LeaseValue, Listing};
use twill_core::networks::Claims;
use twill_core::serving::{Served, Serving, is_tunnel};
use twill_core::subnet_env::SubnetEnv;
use twill_net::kernel::{Choice, LocalRoute};
use twill_store::Store;

use super::{Agent, Past};
use crate::clash::{Overlay, clashes};
use crate::extension;
use crate::failure::Failure;
use crate::flags::Address;
use crate::lock::Lock;
use crate::network::{From, Network};
use crate::ownership::{Basis, Wish};
use crate::publish;
use crate::session::hostname;
use crate::setup::Setup;

/// What the host wants, and what that was made of.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) wish: Wish,
    /// With the subnet still open.
    pub(super) setup: Setup,
    pub(super) basis: Basis,
}

/// What this host is like, and when we looked.
struct Here {
    uplink: Uplink,
    routes: Vec<LocalRoute>,
    read: Instant,
}

/// After this time it pays to look again.
const STALE: Duration = Duration::from_secs(1);

impl<S: Store> Agent<S> {
    /// Reads etcd and the host, and refuses early what cannot work.
    pub(super) async fn prepare(&self, past: &Past) -> Result<(Prepared, From), Failure> {
        let ((network, from), mut here) = tokio::try_join!(self.network(), self.here_at_all())?;
        let family = network.config.network.family();
        // etcd may have taken its time, and this host moves on meanwhile.
        if here.read.elapsed() > STALE || Family::of(here.uplink.address.0) != family {
            here = self.here(family).await?;
        }
        let Here { uplink, routes, .. } = here;
        let published = publish::previous(&self.flags.files).filter(|_| !past.forget);
        let (setup, network) = self.under((uplink, published), past, network).await?;
        let Network { config, written, basis, .. } = network;
        let (node, anchored) = {
            let identity = self.identity();
            (identity.node, identity.anchored)
        };
        let wish = Wish {
            value: LeaseValue {
                public_ip: self.public_ip(&setup.uplink),
                public_ipv6: None,
                backend: setup.told(),
                node: Some(node),
            },
            node,
            hostname: hostname(),
            started: self.host.started,
            previous: published.map(|env| env.subnet),
            local_routes: routes
                .iter()
                .filter(|route| !is_tunnel(&route.name))
                .map(|route| route.block)
                .collect(),
            ttl: self.flags.lease_ttl,
            anchored,
            written,
            config,
        };
        self.clear_the_way((&wish, &setup.claims()), (from.listing(), &routes)).await?;
        Ok((Prepared { wish, setup, basis }, from))
    }

    /// This host under the newest configuration; or under the one before, if it cannot go by that one and
    /// may go on.
    async fn under(
        &self,
        here: (Uplink, Option<SubnetEnv>),
        past: &Past,
        newest: Network,
    ) -> Result<(Setup, Network), Failure> {
        let goes_by = |network: &Network| (network.config.clone(), network.written);
        let failure = match self.first_setup(here.clone(), past, goes_by(&newest)).await {
            Ok(setup) => return Ok((setup, newest)),
            Err(failure) => failure,
        };
        let same_family =
            |before: &Network| before.config.network.family() == newest.config.network.family();
        let Some(before) = newest.before.filter(|before| same_family(before)) else {
            return Err(failure);
        };
        match self.first_setup(here, past, goes_by(&before)).await {
            Ok(setup) => {
                before.tell();
                Ok((setup, *before))
            }
            // The newest one is what people look at.
            Err(_neither) => Err(failure),
        }
    }

    /// This host under the configuration that it joins with; which subnet it will be is still open.
    async fn first_setup(
        &self,
        (uplink, published): (Uplink, Option<SubnetEnv>),
        past: &Past,
        (config, written): (NetworkConfig, Revision),
    ) -> Result<Setup, Failure> {
        let mut networks = vec![config.network];
        networks.extend(published.map(|env| env.network).filter(|old| *old != config.network));
        let mut serving = Serving::new(config.backend.clone(), written);
        if let Some(earlier) = self.shelf.serving().filter(|_| !past.forget) {
            serving = earlier;
            serving.adopt(config.backend.clone(), written);
        }
        self.name_devices(&mut serving);
        let subnet = config.subnet_min;
        let (public_ip, mac, said) = (self.public_ip(&uplink), None, None);
        let mut setup = Setup {
            config,
            written,
            serving,
            mac,
            uplink,
            public_ip,
            said,
            subnet,
            accept: self.flags.firewall.accept(),
            networks,
        };
        self.host.books.claim(self.name.as_ref(), setup.uses()).await?;
        self.make_way_for(&mut setup).await?;
        if let (Backend::Udp(udp), Some(address)) =
            (&setup.config.backend, setup.uplink.address.ipv4())
        {
            twill_tunnel::check_port(address.into(), udp.port)?;
        }
        Ok(setup)
    }

    /// Before it is known of which family the network is: mostly of IPv4.
    async fn here_at_all(&self) -> Result<Here, Failure> {
        match self.here(Family::V4).await {
            Ok(here) => Ok(here),
            Err(failure) => self.here(Family::V6).await.map_err(|_neither| failure),
        }
    }

    async fn here(&self, family: Family) -> Result<Here, Failure> {
        let (read, choice) = (Instant::now(), choice(&self.flags.address, family));
        // One after the other: the kernel gives one listing at a time on one socket.
        let uplink = self.kernel.uplink(&choice).await?;
        let routes = self.kernel.local_routes(family).await?;
        Ok(Here { uplink, routes, read })
    }

    /// Refuses a network that collides with one of this host's own, and removes the devices of
    /// another backend of this very network.
    async fn clear_the_way(
        &self,
        (wish, devices): (&Wish, &[String]),
        (listing, routes): (&Listing, &[LocalRoute]),
    ) -> Result<(), Failure> {
        let ours = |lease: &&Lease| lease.value.node == Some(wish.node);
        let mut own: Vec<Subnet> = listing.leases.iter().filter(ours).map(Lease::subnet).collect();
        own.extend(wish.previous);
        let network = wish.config.network;
        // Another network may still have rows where it was before.
        let beside = self.host.books.devices_beside(self.name.as_ref());
        let devices = &[devices, &beside].concat();
        let found =
            clashes(Overlay { network, devices, own: &own, leases: &listing.leases }, routes);
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

    /// The same host under another configuration, once nothing is known to be in its way.
    pub(crate) async fn another_setup(
        &self,
        before: &Setup,
        config: NetworkConfig,
        written: Revision,
    ) -> Result<Setup, Failure> {
        let mut setup = Setup { written, ..before.clone() };
        setup.serving.adopt(config.backend.clone(), written);
        self.name_devices(&mut setup.serving);
        if !setup.networks.contains(&config.network) {
            setup.networks.push(config.network);
        }
        setup.config = config;
        self.make_way_for(&mut setup).await?;
        Ok(setup)
    }

    /// Takes what another configuration needs beside what this host has in the network now, unless another
    /// network of the host has it.
    pub(crate) async fn claim_besides(
        &self,
        now: &Setup,
        config: &NetworkConfig,
        written: Revision,
    ) -> Result<(), Failure> {
        let mut serving = now.serving.clone();
        serving.adopt(config.backend.clone(), written);
        self.name_devices(&mut serving);
        // Until it is applied the host is where it was.
        let claims = Claims::of(config, &serving).and(now.config.network);
        self.host.books.claim(self.name.as_ref(), claims).await
    }

    /// Leaves to others what this host does not use any more to be what `setup` says; its routes may still
    /// lead into `range`.
    pub(crate) fn let_go_of_all_but(&self, setup: &Setup, range: Subnet) {
        let names = setup.claims();
        let mut held = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|lock| names.iter().any(|name| lock.is_on(name)));
        self.host.books.needs(self.name.as_ref(), setup.uses().and(range));
    }

    fn name_devices(&self, serving: &mut Serving) {
        if self.name.is_some() {
            serving.name_by_port();
        }
    }

    /// Refuses early what cannot work, and makes sure that nobody else does the same on this host. It
    /// does not depend on which subnet it will be.
    async fn make_way_for(&self, setup: &mut Setup) -> Result<(), Failure> {
        match &setup.config.backend {
            Backend::Udp(_) => self.host.capabilities.need_tun()?,
            Backend::HostGw => self.need_own_address(&setup.uplink)?,
            Backend::Vxlan(_) | Backend::Alloc | Backend::Extension(_) => {}
        }
        setup.mtu()?;
        self.lock(&setup.claims())?;
        if setup.mac.is_none() {
            setup.mac = self.mac(&setup.serving, setup.family()).await?;
        }
        setup.said = said(&setup.config.backend, setup.said.take()).await?;
        self.shelf.keep_serving(&setup.serving)
    }

    /// Peers route to the address that they are told: it must be the one that answers on the link.
    fn need_own_address(&self, uplink: &Uplink) -> Result<(), Failure> {
        let (told, own) = (self.public_ip(uplink), uplink.address);
        if told == own {
            return Ok(());
        }
        let text =
            format!("host-gw needs this host's own address {own} as its public one, not {told}");
        Err(Failure::refused(anyhow::Error::msg(text))
            .hint("leave --public-ip and --public-ipv6 out, or choose another Backend.Type"))
    }

    fn public_ip(&self, uplink: &Uplink) -> Underlay {
        let told = self.flags.address.public(Family::of(uplink.address.0));
        told.map_or(uplink.address, Underlay)
    }

    /// Before the claim, because a second lease with our address would lead our peers astray.
    fn lock(&self, names: &[String]) -> Result<(), Failure> {
        let mut held = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            if !held.iter().any(|lock| lock.is_on(name)) {
                held.push(Lock::device(name)?);
            }
        }
        held.retain(|lock| names.iter().any(|name| lock.is_on(name)));
        Ok(())
    }

    /// Peers know this host's VXLAN devices by one hardware address.
    async fn mac(&self, serving: &Serving, family: Family) -> Result<Option<Mac>, Failure> {
        let vxlan = |served: &&Served| matches!(served.backend, Backend::Vxlan(_));
        let device = serving.all().find(vxlan).and_then(|served| served.device_of(family));
        let Some(device) = device else { return Ok(None) };
        let there = self.kernel.vxlan_mac(&device).await?;
        self.shelf.mac(there).map(Some)
    }
}

/// What other hosts' commands are to read of this one: said once, as long as it is the same command.
async fn said(
    backend: &Backend,
    before: Option<(Command, String)>,
) -> Result<Option<(Command, String)>, Failure> {
    let Backend::Extension(commands) = backend else { return Ok(None) };
    let Some(command) = &commands.pre_startup else { return Ok(None) };
    match before {
        Some((same, said)) if same == *command => Ok(Some((same, said))),
        _other => Ok(Some((command.clone(), extension::pre_startup(command).await?))),
    }
}

/// What the administrator said about the interface.
pub(crate) fn choice(address: &Address, family: Family) -> Choice {
    Choice {
        family,
        interfaces: address.iface.clone(),
        patterns: address.iface_regex.clone(),
        can_reach: address.iface_can_reach.filter(|address| Family::of(*address) == family),
        public_ip: address.public(family),
    }
}
