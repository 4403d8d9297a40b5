//! What happens is told in order, or said to be forgotten.

use tokio::time::timeout;
use twill_core::ids::Revision;
use twill_core::lease::Event;
use twill_store::{Follow, Scope, Seen, Store, Update, Watch};

use crate::support::PATIENCE;
use crate::world::{World, again, bid, contract, subnet, won};

contract! {
    a_watch_tells_everything_in_order,
    a_watch_says_when_history_is_gone,
    following_begins_with_a_snapshot_and_survives_compaction,
}

async fn a_watch_tells_everything_in_order(world: impl World) {
    let store = world.store();
    let before = won(store.claim(&bid(1, 1)).await.unwrap());
    let listing = store.leases().await.unwrap();
    let after_listing = won(store.claim(&bid(2, 2)).await.unwrap());
    let mut watch = store.watch(listing.revision, Scope::Leases).await.unwrap();
    assert_eq!(next(&mut watch).await, Event::Put(after_listing.lease.clone()));
    let renewed = won(store.renew(again(&before)).await.unwrap());
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
    let mut watch = store.watch(listing.revision, Scope::Leases).await.unwrap();
    assert_eq!(timeout(PATIENCE, watch.next()).await.unwrap().unwrap(), Seen::Compacted);
    let future = Revision(store.leases().await.unwrap().revision.0 + 1000);
    let mut watch = store.watch(future, Scope::Leases).await.unwrap();
    let seen = timeout(PATIENCE, watch.next()).await.unwrap().unwrap();
    assert_eq!(seen, Seen::Compacted, "the store is younger than what we know");
}

async fn following_begins_with_a_snapshot_and_survives_compaction(world: impl World) {
    let store = world.store();
    let first = won(store.claim(&bid(1, 1)).await.unwrap());
    let mut follow = Follow::new(store.clone(), Scope::Leases);
    let Event::Snapshot(listing) = step(&mut follow).await else { panic!("it begins so") };
    assert_eq!(listing.leases, [first.lease]);
    let second = won(store.claim(&bid(2, 2)).await.unwrap());
    assert_eq!(step(&mut follow).await, Event::Put(second.lease.clone()));
    let third = won(store.claim(&bid(3, 3)).await.unwrap());
    assert_eq!(step(&mut follow).await, Event::Put(third.lease));
    let mut late = Follow::after(store.clone(), Scope::Leases, listing.revision);
    world.compact().await;
    let fourth = won(store.claim(&bid(4, 4)).await.unwrap());
    let Event::Snapshot(listing) = step(&mut late).await else { panic!("history is gone") };
    assert_eq!(listing.leases.len(), 4);
    assert_eq!(step(&mut follow).await, Event::Put(fourth.lease));
}

async fn next(watch: &mut impl Watch) -> Event {
    match timeout(PATIENCE, watch.next()).await.unwrap().unwrap() {
        Seen::Event(event) => event,
        other => panic!("only leases were asked for: {other:?}"),
    }
}

async fn step<S: Store>(follow: &mut Follow<S>) -> Event {
    match timeout(PATIENCE, follow.next()).await.unwrap() {
        Update::Event(event) => event,
        other => panic!("etcd is there all the time: {other:?}"),
    }
}
