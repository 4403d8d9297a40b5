//! Keys that get an end, or lose it.

use std::collections::BTreeSet;
use std::time::Duration;

use twill_core::ids::LeaseId;
use twill_core::lease::Lease;
use twill_core::pick::Over;
use twill_store::{
    Bid, Expected, Held, Memory, Reserve, Revoked, Rewritten, Store, Times as _, Written,
};

use crate::world::{DAY, World, again, bid, contract, node, over, record, subnet, value, won};

contract! {
    a_subnet_is_reserved_once_and_under_one_configuration,
    a_lease_becomes_a_reservation_with_every_byte_of_its_value,
    a_reservation_gets_an_end_and_its_owner_keeps_it,
    a_write_in_between_leaves_everything_as_it_is,
    what_nobody_can_read_is_deleted_as_it_was_seen,
    an_owner_is_seen_by_what_it_makes_live_on,
}

async fn a_subnet_is_reserved_once_and_under_one_configuration(world: impl World) {
    let store = world.store();
    let Written::Done(config) = store.write_config("one", Expected::Nothing).await.unwrap() else {
        panic!("nobody was there before")
    };
    let value = value(7, 1);
    let wish = Reserve::New { key: subnet(7).into(), value: &value, config };
    let made = done(store.reserve(wish).await.unwrap());
    assert_eq!((made.lease_id, &made.value), (None, &value));
    assert_eq!(store.leases().await.unwrap().leases, std::slice::from_ref(&made));

    let other = crate::world::value(7, 2);
    let wish = Reserve::New { key: subnet(7).into(), value: &other, config };
    assert_eq!(store.reserve(wish).await.unwrap(), Rewritten::Changed, "it is taken");
    store.write_config("two", Expected::Anything).await.unwrap();
    let wish = Reserve::New { key: subnet(8).into(), value: &other, config };
    assert_eq!(store.reserve(wish).await.unwrap(), Rewritten::Outdated);
    assert_eq!(store.leases().await.unwrap().leases, [made]);
    assert_eq!(world.lease_count().await.unwrap_or(0), 0);
}

async fn a_lease_becomes_a_reservation_with_every_byte_of_its_value(world: impl World) {
    let store = world.store();
    let odd = r#"{ "publicip":"192.0.2.1","BackendType":"ipip","BackendData":{"Port":51820},"Colour":"red"}"#;
    let with_record = Bid { record: Some(record(1)), ..bid(7, 1) };
    let held = won(store.claim(&with_record).await.unwrap());
    let reserved = done(store.reserve(Reserve::Lease(&held.lease)).await.unwrap());
    assert_eq!((reserved.lease_id, &reserved.value), (None, &held.lease.value));
    assert_eq!(store.nodes().await.unwrap().records.len(), 1, "the owner lives on");
    world.expire(held.lease.lease_id.unwrap()).await;
    assert_eq!(store.leases().await.unwrap().leases, [reserved], "the old end is not its own");

    world.put_raw("subnets/10.88.9.0-24", odd).await;
    let foreign = store.leases().await.unwrap().leases.remove(1);
    let day = done(store.release(&foreign, DAY).await.unwrap());
    let back = done(store.reserve(Reserve::Lease(&day)).await.unwrap());
    assert!(back.revision > day.revision && day.revision > foreign.revision);
    assert_eq!(world.value("subnets/10.88.9.0-24").await, odd);
}

async fn a_reservation_gets_an_end_and_its_owner_keeps_it(world: impl World) {
    let store = world.store();
    let held = won(store.claim(&bid(7, 1)).await.unwrap());
    let reserved = done(store.reserve(Reserve::Lease(&held.lease)).await.unwrap());
    let released = done(store.release(&reserved, DAY).await.unwrap());
    assert_ne!(released.lease_id, held.lease.lease_id);
    assert_eq!(store.leases().await.unwrap().leases, std::slice::from_ref(&released));
    let adopted = Held { lease: released.clone(), ttl: Some(DAY), presence: None };
    let renewed = won(store.renew(again(&adopted)).await.unwrap());
    assert_eq!(renewed.lease.lease_id, released.lease_id);
    world.expire(released.lease_id.unwrap()).await;
    assert_eq!(store.leases().await.unwrap().leases, [], "nobody renews it for ever");
}

async fn a_write_in_between_leaves_everything_as_it_is(world: impl World) {
    let store = world.store();
    let held = won(store.claim(&bid(7, 1)).await.unwrap());
    let newer = won(store.renew(again(&held)).await.unwrap());
    let late = store.reserve(Reserve::Lease(&held.lease)).await.unwrap();
    assert_eq!(late, Rewritten::Changed);
    assert_eq!(store.release(&held.lease, DAY).await.unwrap(), Rewritten::Changed);
    assert_eq!(store.leases().await.unwrap().leases, std::slice::from_ref(&newer.lease));
    assert_eq!(world.lease_count().await.unwrap_or(1), 1, "no etcd lease is left behind");

    store.revoke(&newer.lease).await.unwrap();
    let late = store.reserve(Reserve::Lease(&newer.lease)).await.unwrap();
    assert_eq!(late, Rewritten::Changed, "it is gone");
    assert_eq!(store.release(&newer.lease, DAY).await.unwrap(), Rewritten::Changed);
    assert_eq!(store.leases().await.unwrap().leases, []);
    assert_eq!(world.lease_count().await.unwrap_or(0), 0);
}

async fn what_nobody_can_read_is_deleted_as_it_was_seen(world: impl World) {
    let store = world.store();
    world.put_raw("subnets/10.88.3.0-24", "spoilt").await;
    let seen = store.leases().await.unwrap().malformed.remove(0);
    let key = seen.lease.unwrap();
    world.put_raw("subnets/10.88.3.0-24", "spoilt again").await;
    assert_eq!(store.discard(key, seen.revision).await.unwrap(), Revoked::Changed);
    let seen = store.leases().await.unwrap().malformed.remove(0);
    assert_eq!(store.discard(key, seen.revision).await.unwrap(), Revoked::Gone);
    assert_eq!(store.discard(key, seen.revision).await.unwrap(), Revoked::Gone, "already so");
    assert_eq!(store.leases().await.unwrap().malformed, []);
}

async fn an_owner_is_seen_by_what_it_makes_live_on(world: impl World) {
    let store = world.store();
    let with_record = |host| Bid { record: Some(record(host)), ..bid(host, host) };
    let held = won(store.claim(&with_record(7)).await.unwrap());
    let id = held.lease.lease_id.unwrap();
    world.put_raw("subnets/10.88.9.0-24", r#"{"PublicIP":"192.0.2.9"}"#).await;
    let reserved = store.leases().await.unwrap().leases.remove(1);
    let over = Over::Reservation(reserved.revision);
    let pinned = won(store.claim(&Bid { over, ..with_record(9) }).await.unwrap());
    let endless = record(3);
    world.put_raw(&format!("twill/nodes/{}", endless.id), &endless.to_json()).await;
    world.put_raw("twill/nodes/garbage", "{").await;

    let presence = pinned.presence.unwrap();
    let presences = store.presences().await.unwrap();
    let want = [(node(3), None), (node(7), Some(id)), (node(9), Some(presence))];
    assert_eq!(presences.into_iter().collect::<Vec<_>>(), want);

    let gone = LeaseId(i64::MAX);
    let lives = store.lives(&[id, presence, gone]).await.unwrap();
    assert_eq!(lives.keys().copied().collect::<BTreeSet<_>>(), [id, presence].into());
    for life in lives.values() {
        assert_eq!(life.granted, DAY.as_secs());
        assert!(life.idle() < 60, "{life:?}");
    }
}

#[tokio::test]
async fn in_memory_time_passes_until_the_owner_shows_itself() {
    let store = Memory::default();
    let held = won(store.claim(&bid(7, 1)).await.unwrap());
    let id = held.lease.lease_id.unwrap();
    let idle = async || store.lives(&[id]).await.unwrap()[&id].idle();
    let absent = || store.pass(id, Duration::from_hours(2));
    absent();
    assert_eq!(idle().await, 7200);
    store.keep_alive(&held).await.unwrap();
    assert_eq!(idle().await, 0);
    absent();
    let held = won(store.renew(again(&held)).await.unwrap());
    assert_eq!(idle().await, 0);
    absent();
    won(store.claim(&Bid { over: over(&held), ..bid(7, 1) }).await.unwrap());
    assert_eq!(idle().await, 0);
}

#[track_caller]
fn done(rewritten: Rewritten) -> Lease {
    match rewritten {
        Rewritten::Done(lease) => lease,
        other => panic!("nobody else wrote: {other:?}"),
    }
}
