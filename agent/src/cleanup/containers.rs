//! What containers are joined with: bridges that were made for this host's blocks, and pairs of interfaces.
//!
//! A bridge may have any name, and one that was there before us stays: ours have a hardware address that
//! was made of the gateway's.

use anyhow::Context;
use twill_core::ids::Subnet;
use twill_core::subnet_env::SubnetEnv;
use twill_endpoint::{BRIDGE, Host, Record, address_of, mac_of};
use twill_net::blocking::{Address, Kernel, Link};

use crate::failure::Failure;

/// All of it in the namespace of the calling thread.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) bridges: Vec<Link>,
    /// Those whose pairs are there.
    pub(super) containers: Vec<Record>,
}

/// What this host is by the word of those who tell containers, and of their records.
struct Known {
    networks: Vec<Subnet>,
    blocks: Vec<Subnet>,
}

impl Joined {
    /// `told` is what containers of each network are told.
    pub(super) fn look(told: &[SubnetEnv], links: &[Link]) -> Result<Self, Failure> {
        let addresses = Kernel::here().and_then(|mut kernel| kernel.addresses());
        let addresses = addresses.context("cannot list the addresses")?;
        let pair = |record: &Record| {
            let named = |link: &&Link| link.name == record.host_interface;
            links.iter().find(named).is_some_and(|link| link.kind.as_deref() == Some("veth"))
        };
        let mut containers =
            Host::default().records().context("cannot read the addresses in use")?;
        containers.retain(pair);
        let known = Known::new(told, &containers);
        let bridges = links.iter().filter(|link| known.has(link, &addresses)).cloned().collect();
        Ok(Self { bridges, containers })
    }

    /// Takes the pairs away, and gives the addresses back; goes on after an error.
    pub(super) fn part(&self) -> Vec<Failure> {
        let host = Host::default();
        let part = |record: &Record| host.detach(&record.owner).err();
        let errors = self.containers.iter().filter_map(part);
        errors.map(|error| Failure::from(anyhow::Error::new(error))).collect()
    }
}

impl Known {
    fn new(told: &[SubnetEnv], containers: &[Record]) -> Self {
        let all = || told.iter().flat_map(SubnetEnv::blocks);
        let of_records = containers.iter().flat_map(Record::places).map(|place| place.subnet);
        Self {
            networks: all().map(|blocks| blocks.network).collect(),
            blocks: all().map(|blocks| blocks.subnet).chain(of_records).collect(),
        }
    }

    /// Is it a bridge that was made for a block of this host? It may have been made for an earlier one of
    /// the same network, and have the gateway's address of now.
    fn has(&self, link: &Link, addresses: &[Address]) -> bool {
        if link.kind.as_deref() != Some("bridge") {
            return false;
        }
        let Some(mac) = link.mac else { return link.name == BRIDGE };
        let earlier = || {
            let address = address_of(mac);
            address.is_some_and(|address| self.networks.iter().any(|it| it.contains(address)))
        };
        let serves = |block: &Subnet| {
            let gateway = block.first_host();
            addresses.iter().any(|row| row.link == link.index && row.address == gateway)
        };
        link.name == BRIDGE
            || self.blocks.iter().any(|block| mac == mac_of(block.first_host()))
            || (earlier() && self.blocks.iter().any(serves))
    }
}
