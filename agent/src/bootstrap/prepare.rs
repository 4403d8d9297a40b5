//! What this host is like, and what it wants to be in the network.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use twill_core::config::{Backend, NetworkConfig, Range};
use twill_core::device::{Kept, Uplink};
use twill_core::extension::Command;
use twill_core::ids::{Family, Mac, Revision, Subnet, Underlay};
use twill_core::lease::{Key, Lease, LeaseValue, Listing};
use twill_core::networks::Claims;
use twill_core::serving::{Served, Serving, is_tunnel};
use twill_core::subnet_env::{Ipv6Blocks, SubnetEnv};
use twill_net::kernel::LocalRoute;
use twill_store::Store;

use super::here::{Here, families};
use super::{Agent, Past};
use crate::clash::{Overlay, clashes};
use crate::extension;
use crate::failure::Failure;
use crate::lock::Lock;
use crate::network::{From, Network};
use crate::ownership::{Basis, Wish};
use crate::publish;
use crate::session::hostname;
use crate::setup::{Setup, Side};

/// What the host wants, and what that was made of.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) wish: Wish,
    /// With the subnet still open.
    pub(super) setup: Setup,
    pub(super) basis: Basis,
}

impl<S: Store> Agent<S> {
    /// Reads etcd and the host, and refuses early what cannot work.
    pub(super) async fn prepare(&self, past: &Past) -> Result<(Prepared, From), Failure> {
        let ((network, from), here) = tokio::try_join!(self.network(past), self.here_at_all())?;
        let (network, here) = self.here_in(network, &from, here).await?;
        let Here { uplinks, routes, .. } = here;
        let published = publish::previous(&self.flags.files).filter(|_| !past.forget);
        let (setup, network) = self.under((uplinks, published), past, network).await?;
        let (heritage, routes) = self.inherit((&setup, published), from.listing(), routes);
        let Network { config, written, basis, .. } = network;
        let (node, anchored) = {
            let identity = self.identity();
            (identity.node, identity.anchored)
        };
        let (backend, ipv6) = setup.told();
        let public_ip = setup.side.public_ip;
        let wish = Wish {
            value: LeaseValue { public_ip, backend, ipv6, node: Some(node) },
            node,
            hostname: hostname(),
            started: self.host.started,
            previous: published
                .map(|env| Key { subnet: env.subnet, ipv6: env.ipv6.map(Ipv6Blocks::subnet) }),
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
        self.adopt(heritage).await?;
        self.drop_other_families(&setup).await?;
        Ok((Prepared { wish, setup, basis }, from))
    }

    /// This host under the newest configuration; or under the one before, if it cannot go by that one and
    /// may go on.
    async fn under(
        &self,
        here: (Vec<Uplink>, Option<SubnetEnv>),
        past: &Past,
        newest: Network,
    ) -> Result<(Setup, Network), Failure> {
        let goes_by = |network: &Network| (network.config.clone(), network.written);
        let failure = match self.first_setup(here.clone(), past, goes_by(&newest)).await {
            Ok(setup) => return Ok((setup, newest)),
            Err(failure) => failure,
        };
        let same = |before: &Network| families(&before.config).eq(families(&newest.config));
        let Some(before) = newest.before.filter(|before| same(before)) else {
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
        (uplinks, published): (Vec<Uplink>, Option<SubnetEnv>),
        past: &Past,
        (config, written): (NetworkConfig, Revision),
    ) -> Result<Setup, Failure> {
        let before: Vec<Subnet> = published
            .iter()
            .flat_map(|env| env.blocks().map(|blocks| blocks.network).collect::<Vec<_>>())
            .collect();
        let side = |(range, uplink): (Range, Uplink)| {
            let Range { network, subnet_min: subnet, .. } = range;
            let mut networks = vec![network];
            let same = |old: &&Subnet| old.family() == network.family() && **old != network;
            networks.extend(before.iter().filter(same));
            Side { public_ip: self.public_ip(&uplink), uplink, subnet, networks }
        };
        let mut sides = config.ranges().zip(uplinks).map(side);
        let (first, ipv6) = (sides.next(), sides.next());
        let side =
            first.ok_or_else(|| Failure::refused(anyhow::Error::msg("there is no uplink")))?;
        let mut serving = Serving::new(config.backend.clone(), written);
        if let Some(earlier) = self.shelf.serving().filter(|_| !past.forget) {
            serving = earlier;
            serving.adopt(config.backend.clone(), written);
        }
        self.name_devices(&mut serving);
        let (kept, said) = (Kept::default(), None);
        let (accept, udp) = (self.flags.firewall.accept(), self.flags.udp);
        let mut setup = Setup { config, written, serving, kept, side, ipv6, said, accept, udp };
        self.host.books.claim(self.name.as_ref(), setup.uses()).await?;
        self.make_way_for(&mut setup).await?;
        if let Backend::Udp(udp) = &setup.config.backend {
            for side in setup.sides() {
                // Nobody has the port of an address that is away.
                if self.has(side.uplink.address).await {
                    twill_tunnel::check_port(side.uplink.address.0, udp.port)?;
                }
            }
        }
        Ok(setup)
    }

    /// Refuses a network that collides with one of this host's own, and removes the devices of
    /// another backend of this very network.
    async fn clear_the_way(
        &self,
        (wish, devices): (&Wish, &[String]),
        (listing, routes): (&Listing, &[LocalRoute]),
    ) -> Result<(), Failure> {
        let ours = |lease: &&Lease| lease.value.node == Some(wish.node);
        let keys = listing.leases.iter().filter(ours).map(|lease| lease.key).chain(wish.previous);
        let own: Vec<Subnet> = keys.flat_map(|key| key.blocks()).collect();
        // Another network may still have rows where it was before.
        let beside = self.host.books.devices_beside(self.name.as_ref());
        let devices = &[devices, &beside].concat();
        for network in wish.config.networks() {
            let overlay = Overlay { network, devices, own: &own, leases: &listing.leases };
            let found = clashes(overlay, routes);
            if let Some(foreign) = found.foreign {
                return Err(overlaps(network, &foreign));
            }
            for name in found.leftovers {
                tracing::warn!(device = name, "removing the device of an earlier configuration");
                self.kernel.drop_device(&name).await?;
            }
        }
        Ok(())
    }

    /// Removes devices that this network had for addresses of a family that it has no more.
    async fn drop_other_families(&self, setup: &Setup) -> Result<(), Failure> {
        let gone = [Family::V4, Family::V6]
            .into_iter()
            .filter(|family| !families(&setup.config).any(|ours| ours == *family));
        let names: BTreeSet<String> = gone
            .flat_map(|family| setup.serving.all().filter_map(move |it| it.device_of(family)))
            .collect();
        let ours = Lock::devices()?;
        for name in names.iter().filter(|name| ours.contains(name)) {
            // Who serves it holds the lock.
            let Ok(lock) = Lock::device(name) else { continue };
            tracing::info!(device = name, "the network has no such addresses any more");
            self.kernel.drop_device(name).await?;
            lock.remove()?;
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
        for (side, network) in setup.sides_mut().zip(config.networks()) {
            if !side.networks.contains(&network) {
                side.networks.push(network);
            }
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
        let claims = Claims::of(config, &serving).and(now.config.networks());
        self.host.books.claim(self.name.as_ref(), claims).await
    }

    /// Leaves to others what this host does not use any more to be what `setup` says; its routes may still
    /// lead into the networks of `before`.
    pub(crate) fn let_go_of_all_but(&self, setup: &Setup, before: &NetworkConfig) {
        let names = setup.claims();
        let mut held = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|lock| names.iter().any(|name| lock.is_on(name)));
        self.host.books.needs(self.name.as_ref(), setup.uses().and(before.networks()));
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
            Backend::Wireguard(_) => self.kernel.need_wireguard().await?,
            Backend::HostGw => setup.sides().try_for_each(need_own_address)?,
            Backend::Vxlan(_) | Backend::Alloc | Backend::Extension(_) => {}
        }
        setup.mtu()?;
        self.lock(&setup.claims())?;
        if setup.kept.mac.is_none() {
            setup.kept.mac = self.mac(&setup.serving, &setup.config).await?;
        }
        let wireguard = |served: &Served| matches!(served.backend, Backend::Wireguard(_));
        if setup.kept.key.is_none() && setup.serving.all().any(wireguard) {
            setup.kept.key = Some(self.shelf.key()?);
        }
        setup.said = said(&setup.config.backend, setup.said.take()).await?;
        self.shelf.keep_serving(&setup.serving)
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
    async fn mac(&self, serving: &Serving, config: &NetworkConfig) -> Result<Option<Mac>, Failure> {
        let vxlan = |served: &&Served| matches!(served.backend, Backend::Vxlan(_));
        let family = config.network.family();
        let device = serving.all().find(vxlan).and_then(|served| served.device_of(family));
        let Some(device) = device else { return Ok(None) };
        let there = self.kernel.vxlan_mac(&device).await?;
        self.shelf.mac(there).map(Some)
    }
}

fn overlaps(network: Subnet, foreign: &LocalRoute) -> Failure {
    let LocalRoute { block, name, .. } = foreign;
    let text = format!("overlay network {network} overlaps {block} on {name}");
    let way_out = if foreign.like_flannels {
        format!("`ip route del {block}` if a flanneld left it")
    } else {
        "remove that route or address".to_owned()
    };
    Failure::refused(anyhow::Error::msg(text))
        .hint(format!("choose another Network with `twillctl network init`, or {way_out}"))
}

/// Peers route to the address that they are told: it must be the one that answers on the link.
fn need_own_address(side: &Side) -> Result<(), Failure> {
    let (told, own) = (side.public_ip, side.uplink.address);
    if told == own {
        return Ok(());
    }
    let text = format!("host-gw needs this host's own address {own} as its public one, not {told}");
    Err(Failure::refused(anyhow::Error::msg(text))
        .hint("leave --public-ip and --public-ipv6 out, or choose another Backend.Type"))
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
