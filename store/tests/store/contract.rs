//! What every store promises, run against the one in memory and against a real etcd.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::{PATIENCE, Throwaway};
use tokio::time::timeout;
use twill_core::config::{Draft, NetworkConfig};
use twill_core::ids::{LeaseId, Mac, NodeId, Revision, Subnet, Underlay, Vni};
use twill_core::lease::{Event, Key, Lease, LeaseBackend, LeaseValue};
use twill_core::node::NodeRecord;
use twill_core::pick::{self, Over, Situation};
use twill_store::{
    Bid, Claimed, Etcd, Expected, Follow, Held, Memory, Options, Revoked, Seen, Store, Update,
    Watch, Written,
};

const DAY: Duration = Duration::from_hours(24);
const PREFIX: &str = "/coreos.com/network";

/// What a test does besides the store: as another program, or as time.
trait World {
    type Store: Store;
    fn store(&self) -> Self::Store;
    async fn put_raw(&self, key: &str, value: &str);
    async fn delete_raw(&self, key: &str);
    async fn expire(&self, lease: LeaseId);
    async fn compact(&self);
    /// How many etcd leases exist.
    async fn lease_count(&self) -> Option<usize>;
}

macro_rules! contract {
    ($($promise:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $promise() {
                super::$promise(super::Memory::default()).await;
            })*
        }
        mod etcd {
            $(#[tokio::test]
            async fn $promise() {
                super::$promise(super::Real::start()).await;
            })*
        }
    };
}

contract! {
    a_configuration_is_written_once_unless_its_writer_knows_better,
    a_listing_has_leases_reservations_and_what_is_malformed,
    a_subnet_has_one_owner,
    a_takeover_needs_what_was_read,
    a_bid_under_another_configuration_is_refused,
    a_reservation_stays_one,
    a_renewal_lives_on_with_the_same_etcd_lease,
    a_lease_that_ran_out_or_was_overwritten_cannot_be_renewed,
    a_revocation_hits_only_what_was_read,
    node_records_go_with_the_lease,
    a_watch_tells_everything_in_order,
    a_watch_says_when_history_is_gone,
    following_begins_with_a_snapshot_and_survives_compaction,
    twenty_hosts_that_start_at_once_share_no_subnet,
}

async fn a_configuration_is_written_once_unless_its_writer_knows_better(world: impl World) {
    let store = world.store();
    assert_eq!(store.config().await.unwrap(), None);
    let Written::Done(first) = store.write_config("one", Expected::Nothing).await.unwrap() else {
        panic!("nobody was there before")
    };
    assert_eq!(
        store.write_config("two", Expected::Nothing).await.unwrap(),
        Written::Changed,
        "somebody was"
    );
    let found = store.config().await.unwrap().unwrap();
    assert_eq!((found.text.as_slice(), found.revision), (b"one".as_slice(), first));
    let at = Expected::At(first);
    let Written::Done(second) = store.write_config("two", at).await.unwrap() else {
        panic!("nobody wrote in between")
    };
    assert_eq!(store.write_config("three", at).await.unwrap(), Written::Changed);
    assert_eq!(
        store.write_config("two", at).await.unwrap(),
        Written::Done(second),
        "what should be written is there already"
    );
    let Written::Done(_) = store.write_config("four", Expected::Anything).await.unwrap() else {
        panic!("anything is fine")
    };
}

async fn a_listing_has_leases_reservations_and_what_is_malformed(world: impl World) {
    let store = world.store();
    assert_eq!(store.leases().await.unwrap().leases, []);
    let held = won(store.claim(&bid(7, 1)).await.unwrap());
    world.put_raw("subnets/10.88.9.0-24", r#"{"PublicIP":"192.0.2.9","PublicIPv6":null}"#).await;
    world.put_raw("subnets/10.88.8.0-24", "/coreos.com/network/subnets/10.88.8.0-24").await;
    world.put_raw("subnets/nonsense", "{}").await;
    world.put_raw("subnets-old/10.88.77.0-24", r#"{"PublicIP":"192.0.2.77"}"#).await;
    world.put_raw("subnets", r#"{"PublicIP":"192.0.2.78"}"#).await;
    let listing = store.leases().await.unwrap();
    assert_eq!(listing.leases[0], held.lease);
    let reserved = &listing.leases[1];
    assert_eq!((reserved.subnet(), reserved.lease_id), (subnet(9), None));
    assert_eq!(listing.leases.len(), 2);
    let malformed: Vec<_> =
        listing.malformed.iter().map(|entry| (entry.key.as_str(), entry.lease)).collect();
    assert_eq!(
        malformed,
        [("10.88.8.0-24", Some(Key::from(subnet(8)))), ("nonsense", None)],
        "and nothing from beside `subnets/`"
    );
    assert!(listing.revision > reserved.revision);
}

async fn a_subnet_has_one_owner(world: impl World) {
    let store = world.store();
    let held = won(store.claim(&bid(7, 1)).await.unwrap());
    assert_eq!(held.ttl, Some(DAY));
    assert_eq!(store.claim(&bid(7, 2)).await.unwrap(), Claimed::Lost);
    assert_eq!(store.leases().await.unwrap().leases, [held.lease]);
    if let Some(count) = world.lease_count().await {
        assert_eq!(count, 1, "the loser leaves no etcd lease behind");
    }
}

async fn a_takeover_needs_what_was_read(world: impl World) {
    let store = world.store();
    let first = won(store.claim(&bid(7, 1)).await.unwrap());
    let again = Bid { over: over(&first), ..bid(7, 1) };
    let second = won(store.claim(&again).await.unwrap());
    assert!(second.lease.revision > first.lease.revision);
    let late = Bid { value: value(7, 2), ..again };
    assert_eq!(store.claim(&late).await.unwrap(), Claimed::Lost, "the revision is an old one");
    assert_eq!(store.leases().await.unwrap().leases, std::slice::from_ref(&second.lease));
    store.revoke(&second.lease).await.unwrap();
    let gone = Bid { over: over(&second), ..late };
    assert_eq!(store.claim(&gone).await.unwrap(), Claimed::Lost, "there is nothing to take over");
    if let Some(count) = world.lease_count().await {
        assert_eq!(count, 0);
    }
}

async fn a_bid_under_another_configuration_is_refused(world: impl World) {
    let store = world.store();
    let Written::Done(read) = store.write_config("one", Expected::Nothing).await.unwrap() else {
        panic!("nobody was there before")
    };
    let under = |host, config| Bid { config: Some(config), ..bid(host, host) };
    let held = won(store.claim(&under(7, read)).await.unwrap());
    assert_eq!(store.claim(&Bid { config: Some(read), ..bid(7, 2) }).await.unwrap(), Claimed::Lost);
    let Written::Done(new) = store.write_config("two", Expected::Anything).await.unwrap() else {
        panic!("anything is fine")
    };
    assert_eq!(store.claim(&under(8, read)).await.unwrap(), Claimed::Outdated);
    world.delete_raw("config").await;
    assert_eq!(store.claim(&under(8, new)).await.unwrap(), Claimed::Outdated, "there is none");
    assert_eq!(store.leases().await.unwrap().leases, [held.lease]);
    if let Some(count) = world.lease_count().await {
        assert_eq!(count, 1, "who is refused leaves no etcd lease behind");
    }
}

async fn a_reservation_stays_one(world: impl World) {
    let store = world.store();
    world.put_raw("subnets/10.88.9.0-24", r#"{"PublicIP":"192.0.2.1"}"#).await;
    let reserved = store.leases().await.unwrap().leases.remove(0);
    let bid = Bid { over: Over::Reservation(reserved.revision), ..bid(9, 1) };
    let held = won(store.claim(&bid).await.unwrap());
    assert_eq!((held.ttl, held.lease.lease_id), (None, None));
    let renewed = won(store.renew(&held).await.unwrap());
    assert_eq!((renewed.ttl, renewed.lease.lease_id), (None, None));
    assert_eq!(store.leases().await.unwrap().leases, [renewed.lease]);
    assert_eq!(world.lease_count().await.unwrap_or(0), 0);
}

async fn a_renewal_lives_on_with_the_same_etcd_lease(world: impl World) {
    let store = world.store();
    let held = won(store.claim(&bid(7, 1)).await.unwrap());
    let mut moved = held.clone();
    moved.lease.value.public_ip = Underlay([192, 0, 2, 200].into());
    let renewed = won(store.renew(&moved).await.unwrap());
    assert_eq!(renewed.ttl, Some(DAY));
    assert_eq!(renewed.lease.lease_id, held.lease.lease_id);
    assert_eq!(renewed.lease.value, moved.lease.value);
    assert_eq!(store.leases().await.unwrap().leases, [renewed.lease]);
    assert_eq!(world.lease_count().await.unwrap_or(1), 1);
}

async fn a_lease_that_ran_out_or_was_overwritten_cannot_be_renewed(world: impl World) {
    let store = world.store();
    let held = won(store.claim(&bid(7, 1)).await.unwrap());
    world.expire(held.lease.lease_id.unwrap()).await;
    assert_eq!(store.leases().await.unwrap().leases, []);
    assert_eq!(store.renew(&held).await.unwrap(), Claimed::Lost, "it ran out");
    let held = won(store.claim(&bid(7, 1)).await.unwrap());
    let thief = r#"{"PublicIP":"192.0.2.66"}"#;
    world.put_raw("subnets/10.88.7.0-24", thief).await;
    assert_eq!(store.renew(&held).await.unwrap(), Claimed::Lost, "somebody wrote over it");
    let left = store.leases().await.unwrap().leases.remove(0);
    assert_eq!(left.value.public_ip, Underlay([192, 0, 2, 66].into()), "and is left alone");
    world.delete_raw("subnets/10.88.7.0-24").await;
    assert_eq!(store.renew(&held).await.unwrap(), Claimed::Lost, "it was deleted");
}

async fn a_revocation_hits_only_what_was_read(world: impl World) {
    let store = world.store();
    let held = won(store.claim(&bid(7, 1)).await.unwrap());
    let newer = won(store.renew(&held).await.unwrap());
    assert_eq!(store.revoke(&held.lease).await.unwrap(), Revoked::Changed);
    assert_eq!(store.leases().await.unwrap().leases, std::slice::from_ref(&newer.lease));
    assert_eq!(store.revoke(&newer.lease).await.unwrap(), Revoked::Gone);
    assert_eq!(store.revoke(&newer.lease).await.unwrap(), Revoked::Gone, "already so");
    assert_eq!(store.leases().await.unwrap().leases, []);
    assert_eq!(world.lease_count().await.unwrap_or(0), 0);
}

async fn node_records_go_with_the_lease(world: impl World) {
    let store = world.store();
    let held = won(store.claim(&bid(7, 1)).await.unwrap());
    let (first, second) = (record(1), record(2));
    store.put_node(&second, None).await.unwrap();
    store.put_node(&first, held.lease.lease_id).await.unwrap();
    store.put_node(&first, held.lease.lease_id).await.unwrap();
    world.put_raw("twill/nodes/garbage", "{").await;
    world.put_raw(&format!("twill/nodes/{}", node(5)), &first.to_json()).await;
    let nodes = store.nodes().await.unwrap();
    assert_eq!(nodes.records, [first.clone(), second.clone()]);
    let unreadable: Vec<_> = nodes.unreadable.iter().map(|node| node.key.as_str()).collect();
    assert_eq!(unreadable, [node(5).to_string().as_str(), "garbage"]);
    store.revoke(&held.lease).await.unwrap();
    assert_eq!(store.nodes().await.unwrap().records, [second]);
    let gone = store.put_node(&first, held.lease.lease_id).await.unwrap_err();
    assert!(!gone.is_unreachable(), "{gone}");
}

async fn a_watch_tells_everything_in_order(world: impl World) {
    let store = world.store();
    let before = won(store.claim(&bid(1, 1)).await.unwrap());
    let listing = store.leases().await.unwrap();
    let after_listing = won(store.claim(&bid(2, 2)).await.unwrap());
    let mut watch = store.watch(listing.revision).await.unwrap();
    assert_eq!(next(&mut watch).await, Event::Put(after_listing.lease.clone()));
    let renewed = won(store.renew(&before).await.unwrap());
    world.put_raw("subnets/10.88.3.0-24", "spoilt").await;
    world.put_raw("subnets-old/10.88.4.0-24", r#"{"PublicIP":"192.0.2.4"}"#).await;
    world.put_raw("config", "{}").await;
    world.put_raw("subnets/x", "y").await;
    world.delete_raw("subnets/x").await;
    world.expire(renewed.lease.lease_id.unwrap()).await;
    store.revoke(&after_listing.lease).await.unwrap();
    assert_eq!(next(&mut watch).await, Event::Put(renewed.lease.clone()));
    let Event::Malformed(spoilt) = next(&mut watch).await else { panic!("the value was spoilt") };
    assert_eq!((spoilt.key.as_str(), spoilt.lease), ("10.88.3.0-24", Some(subnet(3).into())));
    let Event::Malformed(no_key) = next(&mut watch).await else { panic!("the key is no lease") };
    assert_eq!((no_key.key.as_str(), no_key.lease), ("x", None));
    assert!(matches!(next(&mut watch).await, Event::GoneMalformed(key, _) if key == "x"));
    let Event::Gone(first, at) = next(&mut watch).await else { panic!("the lease ran out") };
    assert_eq!(first, renewed.lease.key);
    let Event::Gone(second, then) = next(&mut watch).await else { panic!("it was revoked") };
    assert_eq!(second, after_listing.lease.key);
    assert!(then > at);
}

async fn a_watch_says_when_history_is_gone(world: impl World) {
    let store = world.store();
    let listing = store.leases().await.unwrap();
    won(store.claim(&bid(1, 1)).await.unwrap());
    won(store.claim(&bid(2, 2)).await.unwrap());
    world.compact().await;
    let mut watch = store.watch(listing.revision).await.unwrap();
    assert_eq!(timeout(PATIENCE, watch.next()).await.unwrap().unwrap(), Seen::Compacted);
    let future = Revision(store.leases().await.unwrap().revision.0 + 1000);
    let mut watch = store.watch(future).await.unwrap();
    let seen = timeout(PATIENCE, watch.next()).await.unwrap().unwrap();
    assert_eq!(seen, Seen::Compacted, "the store is younger than what we know");
}

async fn following_begins_with_a_snapshot_and_survives_compaction(world: impl World) {
    let store = world.store();
    let first = won(store.claim(&bid(1, 1)).await.unwrap());
    let mut follow = Follow::new(store.clone());
    let Event::Snapshot(listing) = step(&mut follow).await else { panic!("it begins so") };
    assert_eq!(listing.leases, [first.lease]);
    let second = won(store.claim(&bid(2, 2)).await.unwrap());
    assert_eq!(step(&mut follow).await, Event::Put(second.lease.clone()));
    let third = won(store.claim(&bid(3, 3)).await.unwrap());
    assert_eq!(step(&mut follow).await, Event::Put(third.lease));
    let mut late = Follow::after(store.clone(), listing.revision);
    world.compact().await;
    let fourth = won(store.claim(&bid(4, 4)).await.unwrap());
    let Event::Snapshot(listing) = step(&mut late).await else { panic!("history is gone") };
    assert_eq!(listing.leases.len(), 4);
    assert_eq!(step(&mut follow).await, Event::Put(fourth.lease));
}

/// The network has room for exactly as many as there are hosts, so that every one must meet others.
async fn twenty_hosts_that_start_at_once_share_no_subnet(world: impl World) {
    const HOSTS: u8 = 20;
    let draft = Draft {
        subnet_len: Some(27),
        subnet_min: Some([10, 88, 0, 0].into()),
        subnet_max: Some([10, 88, 2, 96].into()),
        ..Draft::new(Subnet::new([10, 88, 0, 0].into(), 22).unwrap())
    };
    let config = draft.build().unwrap();
    let store = world.store();
    let claims = (0..HOSTS).map(|host| start(&store, &config, host));
    let subnets = futures::future::join_all(claims).await;
    let distinct: BTreeSet<Subnet> = subnets.iter().copied().collect();
    assert_eq!(distinct.len(), usize::from(HOSTS), "{subnets:?}");
    let listing = store.leases().await.unwrap();
    let listed: BTreeSet<Subnet> = listing.leases.iter().map(Lease::subnet).collect();
    assert_eq!(listed, distinct);
    let count = world.lease_count().await.unwrap_or(usize::from(HOSTS));
    assert_eq!(count, usize::from(HOSTS), "lost bids leave nothing behind");
    let late = pick::pick(&situation(&config, HOSTS, &listing), 0).unwrap_err();
    assert!(matches!(late, pick::Error::Full { taken: 20, .. }), "{late}");
}

/// The loop of an agent's start.
async fn start(store: &impl Store, config: &NetworkConfig, host: u8) -> Subnet {
    loop {
        let listing = store.leases().await.unwrap();
        // The worst luck: every host would like the same one.
        let choice = pick::pick(&situation(config, host, &listing), 0).unwrap();
        let bid = Bid { subnet: choice.subnet, over: choice.over, ..bid(host, host) };
        if let Claimed::Ours(held) = store.claim(&bid).await.unwrap() {
            return held.lease.subnet();
        }
    }
}

fn situation<'a>(
    config: &'a NetworkConfig,
    host: u8,
    listing: &'a twill_core::lease::Listing,
) -> Situation<'a> {
    Situation {
        config,
        node: node(host),
        public_ip: Underlay([192, 0, 2, host].into()),
        listing,
        previous: None,
        local_routes: &[],
    }
}

// === the two worlds ===

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

struct Real {
    etcd: Throwaway,
}

impl Real {
    fn start() -> Self {
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

// === values ===

fn bid(third: u8, host: u8) -> Bid {
    let value = value(third, host);
    Bid { subnet: subnet(third), value, over: Over::Nothing, config: None, ttl: DAY }
}

fn over(held: &Held) -> Over {
    Over::Lease(held.lease.revision, held.lease.lease_id.unwrap())
}

fn value(third: u8, host: u8) -> LeaseValue {
    LeaseValue {
        public_ip: Underlay([192, 0, 2, host].into()),
        public_ipv6: None,
        backend: LeaseBackend::Vxlan { vni: Some(Vni::ONE), mac: Mac([2, 0, 0, 0, third, host]) },
        node: Some(node(host)),
    }
}

fn record(host: u8) -> NodeRecord {
    NodeRecord {
        id: node(host),
        hostname: format!("node{host}"),
        public_ip: Underlay([192, 0, 2, host].into()),
        subnet: subnet(host),
        version: "0.1.0".to_owned(),
        started: 1_700_000_000,
    }
}

fn node(host: u8) -> NodeId {
    NodeId::from_random([host; 16])
}

fn subnet(third: u8) -> Subnet {
    Subnet::new([10, 88, third, 0].into(), 24).unwrap()
}

#[track_caller]
fn won(claimed: Claimed) -> Held {
    match claimed {
        Claimed::Ours(held) => held,
        Claimed::Lost | Claimed::Outdated => panic!("nobody else wanted it"),
    }
}

async fn next(watch: &mut impl Watch) -> Event {
    match timeout(PATIENCE, watch.next()).await.unwrap().unwrap() {
        Seen::Event(event) => event,
        Seen::Compacted => panic!("nothing was compacted"),
    }
}

async fn step<S: Store>(follow: &mut Follow<S>) -> Event {
    match timeout(PATIENCE, follow.next()).await.unwrap() {
        Update::Event(event) => event,
        other => panic!("etcd is there all the time: {other:?}"),
    }
}
