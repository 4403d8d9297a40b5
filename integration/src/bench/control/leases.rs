//! Hosts that are nothing but a lease.

use std::net::Ipv4Addr;
use std::ops::Range;

use anyhow::{Context, Result};
use etcd_client::{Client, PutOptions, Txn, TxnOp};
use twill_core::ids::{Mac, NodeId, Subnet, Underlay, Vni};
use twill_core::lease::{Key, LeaseBackend, LeaseValue, Vtep};

use super::Way;
use crate::etcd;

/// The overlay network: room for 16,384 hosts.
pub(super) const NETWORK: &str = "10.64.0.0/10";

/// Where their underlay addresses are.
pub(super) const UNDERLAY: &str = "172.16.0.0/16";

const LEASES: &str = "/coreos.com/network/subnets/";

/// Longer than any measurement.
const TTL: i64 = 24 * 60 * 60;

/// etcd takes no more operations in one transaction.
const AT_ONCE: usize = 128;

/// The one peer that comes and goes, and those that stay.
pub(super) struct Leases {
    client: Client,
    id: i64,
    way: Way,
}

/// The block of a peer.
pub(super) fn block(number: usize) -> Result<Subnet> {
    let number = u32::try_from(number)?;
    let base = Ipv4Addr::from((10 << 24 | 64 << 16) + (number << 8));
    Subnet::new(base.into(), 24).context("no block")
}

/// Its hardware address.
pub(super) fn mac(number: usize) -> Result<Mac> {
    let [_, _, high, low] = u32::try_from(number)?.to_be_bytes();
    Ok(Mac([2, 0, 0, 0, high, low]))
}

/// Its address on the underlay.
pub(super) fn underlay(number: usize) -> Result<Underlay> {
    let base = 172 << 24 | 16 << 16;
    Ok(Underlay(Ipv4Addr::from(base + u32::try_from(number)?).into()))
}

impl Leases {
    /// Must be called in etcd's network.
    pub(super) async fn new(way: Way) -> Result<Self> {
        let mut client = Client::connect([etcd::ENDPOINT], None).await?;
        let id = client.lease_grant(TTL, None).await?.id();
        Ok(Self { client, id, way })
    }

    /// All of these are there.
    pub(super) async fn put(&mut self, numbers: Range<usize>) -> Result<()> {
        let numbers: Vec<usize> = numbers.collect();
        for some in numbers.chunks(AT_ONCE) {
            let puts: Vec<TxnOp> = some
                .iter()
                .map(|number| {
                    let options = PutOptions::new().with_lease(self.id);
                    let value = value(self.way, *number)?.to_json();
                    Ok(TxnOp::put(key(*number)?, value, Some(options)))
                })
                .collect::<Result<_>>()?;
            self.client.txn(Txn::new().and_then(puts)).await?;
        }
        Ok(())
    }

    /// That one is gone.
    pub(super) async fn delete(&mut self, number: usize) -> Result<()> {
        self.client.delete(key(number)?, None).await?;
        Ok(())
    }
}

fn key(number: usize) -> Result<String> {
    Ok(format!("{LEASES}{}", Key::from(block(number)?)))
}

fn value(way: Way, number: usize) -> Result<LeaseValue> {
    let backend = match way {
        Way::Vxlan => LeaseBackend::Vxlan(Vtep { vni: Vni::new(1), mac: mac(number)? }),
        Way::HostGw => LeaseBackend::HostGw,
    };
    let node = Some(NodeId::from_random(rand::random()));
    Ok(LeaseValue { public_ip: underlay(number)?, ipv6: None, backend, node })
}
