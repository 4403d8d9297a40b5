//! What stands there: configuration, leases and node records.

use twill_core::lease::Key;
use twill_store::{Bid, Expected, Store, Written};

use crate::world::{World, bid, contract, node, record, subnet, won};

contract! {
    a_configuration_is_written_once_unless_its_writer_knows_better,
    a_listing_has_leases_reservations_and_what_is_malformed,
    node_records_go_with_the_lease,
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

async fn node_records_go_with_the_lease(world: impl World) {
    let store = world.store();
    let (first, second) = (record(1), record(2));
    let with_record = Bid { record: Some(first.clone()), ..bid(7, 1) };
    let held = won(store.claim(&with_record).await.unwrap());
    world.put_raw(&format!("twill/nodes/{}", second.id), &second.to_json()).await;
    world.put_raw("twill/nodes/garbage", "{").await;
    world.put_raw(&format!("twill/nodes/{}", node(5)), &first.to_json()).await;
    let nodes = store.nodes().await.unwrap();
    assert_eq!(nodes.records, [first, second.clone()]);
    let unreadable: Vec<_> = nodes.unreadable.iter().map(|node| node.key.as_str()).collect();
    assert_eq!(unreadable, [node(5).to_string().as_str(), "garbage"]);
    store.revoke(&held.lease).await.unwrap();
    assert_eq!(store.nodes().await.unwrap().records, [second], "it ended with the lease");
}
