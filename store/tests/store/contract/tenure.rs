//! Leases live on, and end.

use twill_core::ids::Underlay;
use twill_store::{Claimed, Revoked, Store};

use crate::world::{DAY, World, again, bid, contract, won};

contract! {
    a_renewal_lives_on_with_the_same_etcd_lease,
    a_lease_that_ran_out_or_was_overwritten_cannot_be_renewed,
    a_revocation_hits_only_what_was_read,
}

async fn a_renewal_lives_on_with_the_same_etcd_lease(world: impl World) {
    let store = world.store();
    let held = won(store.claim(&bid(7, 1)).await.unwrap());
    let mut moved = held.clone();
    moved.lease.value.public_ip = Underlay([192, 0, 2, 200].into());
    let renewed = won(store.renew(again(&moved)).await.unwrap());
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
    assert_eq!(store.renew(again(&held)).await.unwrap(), Claimed::Lost, "it ran out");
    let held = won(store.claim(&bid(7, 1)).await.unwrap());
    let thief = r#"{"PublicIP":"192.0.2.66"}"#;
    world.put_raw("subnets/10.88.7.0-24", thief).await;
    assert_eq!(store.renew(again(&held)).await.unwrap(), Claimed::Lost, "somebody wrote over it");
    let left = store.leases().await.unwrap().leases.remove(0);
    assert_eq!(left.value.public_ip, Underlay([192, 0, 2, 66].into()), "and is left alone");
    world.delete_raw("subnets/10.88.7.0-24").await;
    assert_eq!(store.renew(again(&held)).await.unwrap(), Claimed::Lost, "it was deleted");
}

async fn a_revocation_hits_only_what_was_read(world: impl World) {
    let store = world.store();
    let held = won(store.claim(&bid(7, 1)).await.unwrap());
    let newer = won(store.renew(again(&held)).await.unwrap());
    assert_eq!(store.revoke(&held.lease).await.unwrap(), Revoked::Changed);
    assert_eq!(store.leases().await.unwrap().leases, std::slice::from_ref(&newer.lease));
    assert_eq!(store.revoke(&newer.lease).await.unwrap(), Revoked::Gone);
    assert_eq!(store.revoke(&newer.lease).await.unwrap(), Revoked::Gone, "already so");
    assert_eq!(store.leases().await.unwrap().leases, []);
    assert_eq!(world.lease_count().await.unwrap_or(0), 0);
}
