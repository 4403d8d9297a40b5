//! A subnet has one owner: claims, takeovers, and what refuses them.

use std::collections::BTreeSet;

use twill_core::config::{Draft, NetworkConfig};
use twill_core::ids::{Subnet, Underlay};
use twill_core::lease::{Key, Lease};
use twill_core::pick::{self, Over, Situation};
use twill_store::{Bid, Claimed, Expected, Store, Written};

use crate::world::{DAY, World, again, bid, contract, node, over, subnet, value, won};

contract! {
    a_subnet_has_one_owner,
    a_takeover_needs_what_was_read,
    of_two_pairs_with_one_ipv4_block_the_second_is_refused,
    a_bid_under_another_configuration_is_refused,
    a_reservation_stays_one,
    twenty_hosts_that_start_at_once_share_no_subnet,
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

async fn of_two_pairs_with_one_ipv4_block_the_second_is_refused(world: impl World) {
    let store = world.store();
    let pair = |n: u8, read| Bid {
        key: Key { ipv6: format!("fd00:0:0:{n}::/64").parse().ok(), ..subnet(7).into() },
        beside: Some(read),
        ..bid(7, n)
    };
    let read = store.leases().await.unwrap().revision;
    let first = won(store.claim(&pair(1, read)).await.unwrap());
    assert_eq!(first.lease.key.ipv6, "fd00:0:0:1::/64".parse().ok());
    assert_eq!(store.claim(&pair(2, read)).await.unwrap(), Claimed::Lost);
    // Who has seen the first one may write beside it: it is its own, and goes when the new one stands.
    let seen = store.leases().await.unwrap().revision;
    won(store.claim(&pair(2, seen)).await.unwrap());
    let late = Bid { key: subnet(7).into(), beside: Some(seen), ..bid(7, 3) };
    assert_eq!(store.claim(&late).await.unwrap(), Claimed::Lost);
    let keys = store.leases().await.unwrap().leases;
    assert_eq!(keys.len(), 2);
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
    let renewed = won(store.renew(again(&held)).await.unwrap());
    assert_eq!((renewed.ttl, renewed.lease.lease_id), (None, None));
    assert_eq!(store.leases().await.unwrap().leases, [renewed.lease]);
    assert_eq!(world.lease_count().await.unwrap_or(0), 0);
}

/// The network has room for exactly as many as there are hosts, so that every one must meet others.
async fn twenty_hosts_that_start_at_once_share_no_subnet(world: impl World) {
    const HOSTS: u8 = 20;
    let mut draft = Draft::new(Subnet::new([10, 88, 0, 0].into(), 22).unwrap());
    draft.range.subnet_len = Some(27);
    draft.range.subnet_min = Some([10, 88, 0, 0].into());
    draft.range.subnet_max = Some([10, 88, 2, 96].into());
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
        let bid = Bid { key: choice.key, over: choice.over, ..bid(host, host) };
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
