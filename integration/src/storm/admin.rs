//! The administrator of a storm, who takes leases away. Speaks to etcd as `etcdctl` does, and not
//! through the code under test.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use etcd_client::{Client, GetOptions, KeyValue};
use twill_core::ids::{NodeId, Revision, Subnet};
use twill_core::lease::{Key, LeaseBackend, LeaseValue};

use super::script::Taking;
use super::slot;
use super::world::World;

const LEASES: &str = "/coreos.com/network/subnets/";

/// With a connection of its own.
pub(super) struct Admin {
    client: Client,
}

impl Admin {
    pub(super) async fn new(etcd: SocketAddr) -> Result<Self> {
        let client = Client::connect([format!("http://{etcd}")], None).await?;
        Ok(Self { client })
    }

    /// Gives the first subnets to as many hosts that never come.
    pub(super) async fn fill(&mut self, subnets: usize) -> Result<()> {
        for number in 0..subnets {
            let node = NodeId::from_random(rand::random());
            let (address, backend) = (slot::address(number), LeaseBackend::Unnamed);
            let value = LeaseValue { public_ip: address, ipv6: None, backend, node: Some(node) };
            let key = format!("{LEASES}10.88.{}.0-24", number + 1);
            self.client.put(key, value.to_json(), None).await?;
        }
        Ok(())
    }

    /// Takes the lease at this place of the list away, if there is any.
    pub(super) async fn take_away(&mut self, nth: usize, how: Taking, world: &World) -> Result<()> {
        let options = Some(GetOptions::new().with_prefix().with_keys_only());
        let found = self.client.get(LEASES, options).await?;
        let rows = found.kvs();
        match nth.checked_rem(rows.len()) {
            Some(index) => self.take((&rows[index], how), world).await,
            None => Ok(()),
        }
    }

    /// Takes this subnet away from whoever has it.
    pub(super) async fn free(&mut self, subnet: Subnet, world: &World) -> Result<()> {
        let key = format!("{LEASES}{}", Key::from(subnet));
        let found = self.client.get(key, None).await?;
        match found.kvs().first() {
            Some(row) => self.take((row, Taking::WithLease), world).await,
            None => Ok(()),
        }
    }

    /// Where etcd's history stands.
    pub(super) async fn revision(&mut self) -> Result<Revision> {
        let answer = self.client.get(LEASES, None).await?;
        let header = answer.header().context("no header")?;
        Ok(Revision(header.revision()))
    }

    async fn take(&mut self, (row, how): (&KeyValue, Taking), world: &World) -> Result<()> {
        let key: Key = row.key_str()?.trim_start_matches(LEASES).parse()?;
        world.take_away(key.subnet, false);
        match how {
            Taking::KeyAlone => drop(self.client.delete(row.key(), None).await?),
            // It may have ended by itself meanwhile.
            Taking::WithLease => drop(self.client.lease_revoke(row.lease()).await),
        }
        world.take_away(key.subnet, true);
        Ok(())
    }
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}
