//! What this host should be like: by the word of the agent that runs, or by what it left on disk.

use std::fs;

use anyhow::Context;
use tokio::sync::watch;
use twill_core::config::Backend;
use twill_core::device::{IfIndex, Kept, Uplink, mtu};
use twill_core::firewall::gate::Table;
use twill_core::firewall::{Engine, Policy};
use twill_core::ids::{Family, Mtu, NetworkName, Underlay};
use twill_core::lease::Event;
use twill_core::peers::{Known, View};
use twill_core::picture::Picture;
use twill_core::serving::{Served, Serving};
use twill_core::subnet_env::SubnetEnv;
use twill_net::Kernel;
use twill_net::kernel::Choice;

use crate::bootstrap::choice;
use crate::failure::Failure;
use crate::firewall::policies;
use crate::flags::{self, Flags};
use crate::identity::Identity;
use crate::memory;
use crate::publish;
use crate::setup::{Half, Setup, Side};
use crate::shelf::Shelf;

/// What nearly every Ethernet carries.
const USUAL: Mtu = Mtu::new(1500).expect("in range");

/// This host as it should be at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Whole {
    pub(crate) setup: Setup,
    view: View,
    /// What this network needs of the firewall.
    pub(crate) own: Vec<Policy>,
    mtu: Mtu,
    engine: Option<Engine>,
    /// What the rules are for: all networks of the host.
    pub(crate) policies: Vec<Policy>,
    /// What its table of peers is called.
    table: Table,
}

/// As far as one family of addresses goes.
#[derive(Clone, Debug)]
pub(crate) struct Blueprint {
    pub(crate) setup: Half,
    pub(crate) view: View,
    /// What containers are told to send.
    pub(crate) mtu: Mtu,
    /// What the rules are written with, if anybody knows.
    pub(crate) engine: Option<Engine>,
    /// What the rules are for: all networks of the host.
    pub(crate) policies: Vec<Policy>,
    /// What the network's table of peers is called.
    pub(crate) table: Table,
}

/// Where a session keeps what it goes by.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    pub(crate) setup: watch::Receiver<Setup>,
    pub(crate) view: watch::Receiver<View>,
    pub(crate) policies: watch::Receiver<Vec<Policy>>,
    pub(crate) env: watch::Receiver<SubnetEnv>,
    pub(crate) table: Table,
}

impl Sources {
    /// As of now.
    pub(crate) fn whole(&self, rules: Option<(Engine, Vec<Policy>)>) -> Whole {
        let own = self.policies.borrow().clone();
        let (engine, policies) = rules.unzip();
        Whole {
            setup: self.setup.borrow().clone(),
            view: self.view.borrow().clone(),
            policies: policies.unwrap_or_else(|| own.clone()),
            own,
            mtu: self.env.borrow().mtu,
            engine,
            table: self.table.clone(),
        }
    }
}

impl Whole {
    /// For each family, IPv4 first.
    pub(crate) fn blueprints(&self) -> impl Iterator<Item = Blueprint> {
        self.setup.halves().map(|setup| {
            let mut view = self.view.clone();
            view.peers.retain(|peer| peer.subnet.family() == setup.family());
            let (mtu, engine, policies) = (self.mtu, self.engine, self.policies.clone());
            Blueprint { setup, view, mtu, engine, policies, table: self.table.clone() }
        })
    }

    /// By the network's state directory and `subnet.env`, which are only read: another process may be at
    /// work on them.
    pub(crate) async fn from_disk(
        name: Option<&NetworkName>,
        flags: &Flags,
        kernel: &Kernel,
    ) -> Result<Self, Failure> {
        let picture = picture(flags)?;
        let config = picture.config.clone();
        let env = publish::previous(&flags.files);
        let state = &flags.files.state_dir;
        let mut serving = Serving::new(config.backend.clone(), picture.written);
        let shelf = Shelf::new(state);
        if let Some(earlier) = shelf.serving() {
            serving = earlier;
            serving.adopt(config.backend.clone(), picture.written);
        }
        let vxlan = |served: &Served| matches!(served.backend, Backend::Vxlan(_));
        let mac = shelf.known_mac().filter(|_mac| serving.all().any(vxlan));
        let wireguard = |served: &Served| matches!(served.backend, Backend::Wireguard(_));
        let key = shelf.known_key().filter(|_key| serving.all().any(wireguard));
        let node = picture.node;
        let mut sides = sides(flags, kernel, (&picture, env.as_ref())).await.into_iter();
        // A picture has its own lease, and that has a block.
        let side = sides.next().context("the picture has no subnet")?;
        let setup = Setup {
            written: picture.written,
            serving: serving.clone(),
            kept: Kept { mac, key },
            side,
            ipv6: sides.next(),
            said: None,
            accept: flags.firewall.accept(),
            udp: flags.udp,
            config,
        };
        let mut known = Known::default();
        known.fold(Event::Snapshot(picture.listing));
        let view = known.view(&setup.own(node));
        let mtu = match env {
            Some(env) if env.subnet == setup.side.subnet => env.mtu,
            _other => setup.mtu()?,
        };
        // The agent's options may not be ours: whether it masquerades stands in the file as well.
        let mut wanted = flags.firewall.clone();
        wanted.masquerade.ip_masq |= env.is_some_and(|env| env.ip_masq);
        let own = policies(&wanted, &setup);
        let engine = match flags.firewall.engine {
            flags::Engine::None => Some(Engine::None),
            flags::Engine::Nftables => Some(Engine::Nftables),
            // Which variant is for whoever looks at the host.
            flags::Engine::Auto | flags::Engine::Iptables => None,
        };
        let (policies, table) = (own.clone(), Table::of(name));
        Ok(Self { setup, view, own, mtu, engine, policies, table })
    }
}

fn picture(flags: &Flags) -> Result<Picture, Failure> {
    let state = &flags.files.state_dir;
    let path = state.join(memory::FILE);
    let hint = "without it only a running agent knows what this host should be like: start twilld, or \
                name the --state-dir that it used";
    let read = fs::read(&path).with_context(|| format!("cannot read {}", path.display()));
    let read = read.map_err(|error| Failure::refused(error).hint(hint))?;
    let picture = Picture::parse(&read).with_context(|| format!("cannot use {}", path.display()));
    let picture = picture.map_err(|error| Failure::refused(error).hint(hint))?;
    let node = Identity::known(state).unwrap_or(picture.node);
    let judged = picture.is_of(&flags.etcd.prefix, node);
    let judged = judged.with_context(|| format!("cannot use {}", path.display()));
    judged.map_err(|error| Failure::refused(error).hint(hint))?;
    Ok(picture)
}

/// What this host is in each family, by its own lease.
async fn sides(
    flags: &Flags,
    kernel: &Kernel,
    (picture, env): (&Picture, Option<&SubnetEnv>),
) -> Vec<Side> {
    let Picture { own, config, .. } = picture;
    let mut sides = Vec::new();
    for (network, subnet) in config.networks().zip(own.key.blocks()) {
        let Some(half) = own.half(subnet.family()) else { continue };
        let public_ip = half.value.public_ip;
        let uplink = match uplink(flags, kernel, public_ip).await {
            Some(uplink) => uplink,
            None => gone(flags, public_ip, (&config.backend, env)),
        };
        sides.push(Side { uplink, public_ip, subnet, networks: vec![network] });
    }
    sides
}

/// The interface that peers know, or the one that the agent would take in its place.
async fn uplink(flags: &Flags, kernel: &Kernel, Underlay(address): Underlay) -> Option<Uplink> {
    let family = Family::of(address);
    let same = Choice { public_ip: Some(address), ..Choice::any(family) };
    match kernel.uplink(&same).await {
        Ok(uplink) => Some(uplink),
        Err(_away) => kernel.uplink(&choice(&flags.address, family, None)).await.ok(),
    }
}

/// What is known of an uplink that is not there: containers were told what it carried.
fn gone(
    flags: &Flags,
    address: Underlay,
    (backend, env): (&Backend, Option<&SubnetEnv>),
) -> Uplink {
    let name = flags.address.iface.first().cloned().unwrap_or_else(|| "interface".to_owned());
    let uplink = Uplink { index: IfIndex(0), name, address, mtu: USUAL };
    let overhead = mtu(backend, &uplink).map_or(0, |inside| USUAL.bytes() - inside.bytes());
    let carried = env.and_then(|env| Mtu::new(env.mtu.bytes() + overhead));
    Uplink { mtu: carried.unwrap_or(USUAL), ..uplink }
}
