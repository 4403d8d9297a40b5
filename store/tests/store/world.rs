//! The two worlds that every promise is tried in, and the values it is tried with.

use std::net::IpAddr;
use std::time::Duration;

use crate::support::Throwaway;
use twill_core::ids::{LeaseId, Mac, NodeId, Subnet, Underlay, Vni};
use twill_core::lease::{Lease, LeaseBackend, LeaseValue, Vtep};
use twill_core::node::NodeRecord;
use twill_core::pick::Over;
use twill_store::{Bid, Claimed, Directory, Etcd, Held, Memory, Options, Renewal, Times};

pub(crate) const DAY: Duration = Duration::from_hours(24);
pub(crate) const PREFIX: &str = "/coreos.com/network";

/// What a test does besides the store: as another program, or as time.
pub(crate) trait World {
    type Store: Times + Directory;
    fn store(&self) -> Self::Store;
    async fn put_raw(&self, key: &str, value: &str);
    async fn delete_raw(&self, key: &str);
    async fn value(&self, key: &str) -> String;
    async fn expire(&self, lease: LeaseId);
    async fn compact(&self);
    /// How many etcd leases exist.
    async fn lease_count(&self) -> Option<usize>;
}

/// A test of each name for each world.
macro_rules! contract {
    ($($promise:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $promise() {
                super::$promise(twill_store::Memory::default()).await;
            })*
        }
        mod etcd {
            $(#[tokio::test]
            async fn $promise() {
                super::$promise(crate::world::Real::start()).await;
            })*
        }
    };
}
pub(crate) use contract;

impl World for Memory {
    type Store = Self;

    fn store(&self) -> Self {
        self.clone()
    }

    async fn put_raw(&self, key: &str, value: &str) {
        Self::put_raw(self, &format!("{PREFIX}/{key}"), value.as_bytes());
    }

    async fn delete_raw(&self, key: &str) {
        Self::delete_raw(self, &format!("{PREFIX}/{key}"));
    }

    async fn value(&self, key: &str) -> String {
        String::from_utf8(self.value_raw(&format!("{PREFIX}/{key}")).unwrap()).unwrap()
    }

    async fn expire(&self, lease: LeaseId) {
        Self::expire(self, lease);
    }

    async fn compact(&self) {
        Self::compact(self);
    }

    async fn lease_count(&self) -> Option<usize> {
        None
    }
}

/// A throwaway etcd.
pub(crate) struct Real {
    etcd: Throwaway,
}

impl Real {
    pub(crate) fn start() -> Self {
        Self { etcd: Throwaway::start() }
    }

    async fn raw(&self) -> etcd_client::Client {
        etcd_client::Client::connect([self.etcd.url()], None).await.unwrap()
    }
}

impl World for Real {
    type Store = Etcd;

    fn store(&self) -> Etcd {
        Etcd::new(&Options { endpoints: vec![self.etcd.url()], ..Options::default() }).unwrap()
    }

    async fn put_raw(&self, key: &str, value: &str) {
        self.raw().await.put(format!("{PREFIX}/{key}"), value, None).await.unwrap();
    }

    async fn delete_raw(&self, key: &str) {
        self.raw().await.delete(format!("{PREFIX}/{key}"), None).await.unwrap();
    }

    async fn value(&self, key: &str) -> String {
        let found = self.raw().await.get(format!("{PREFIX}/{key}"), None).await.unwrap();
        found.kvs()[0].value_str().unwrap().to_owned()
    }

    async fn expire(&self, lease: LeaseId) {
        self.raw().await.lease_revoke(lease.0).await.unwrap();
    }

    async fn compact(&self) {
        let mut client = self.raw().await;
        let now = client.get("x", None).await.unwrap().header().unwrap().revision();
        client.compact(now, None).await.unwrap();
    }

    async fn lease_count(&self) -> Option<usize> {
        Some(self.raw().await.leases().await.unwrap().leases().len())
    }
}

pub(crate) fn bid(third: u8, host: u8) -> Bid {
    let value = value(third, host);
    let (key, over) = (subnet(third).into(), Over::Nothing);
    Bid { key, value, over, beside: None, config: None, ttl: DAY, record: None }
}

pub(crate) fn over(held: &Held) -> Over {
    Over::Lease(held.lease.revision, held.lease.lease_id.unwrap())
}

pub(crate) fn value(third: u8, host: u8) -> LeaseValue {
    LeaseValue {
        public_ip: Underlay([192, 0, 2, host].into()),
        ipv6: None,
        backend: LeaseBackend::Vxlan(Vtep {
            vni: Some(Vni::ONE),
            mac: Mac([2, 0, 0, 0, third, host]),
        }),
        node: Some(node(host)),
    }
}

pub(crate) fn record(host: u8) -> NodeRecord {
    NodeRecord {
        id: node(host),
        hostname: format!("node{host}"),
        public_ip: Underlay([192, 0, 2, host].into()),
        subnet: subnet(host),
        ipv6: None,
        version: "0.1.0".to_owned(),
        started: 1_700_000_000,
    }
}

pub(crate) fn node(host: u8) -> NodeId {
    NodeId::from_random([host; 16])
}

/// The number that [`subnet`] made its block of.
pub(crate) fn third_of(lease: &Lease) -> u8 {
    match lease.subnet().base() {
        IpAddr::V4(base) => base.octets()[2],
        IpAddr::V6(base) => panic!("{base}"),
    }
}

pub(crate) fn subnet(third: u8) -> Subnet {
    Subnet::new([10, 88, third, 0].into(), 24).unwrap()
}

#[track_caller]
pub(crate) fn won(claimed: Claimed) -> Held {
    match claimed {
        Claimed::Ours(held) => held,
        Claimed::Lost | Claimed::Outdated => panic!("nobody else wanted it"),
    }
}

/// A renewal without a node record.
pub(crate) fn again(held: &Held) -> Renewal<'_> {
    Renewal { held, record: None, ttl: DAY }
}
