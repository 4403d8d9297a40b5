use twill_core::ids::NodeId;
use twill_core::lease::LeaseValue;
use twill_core::pick::Over;
use twill_store::{Bid, Claimed, Expected, Held, Memory};

use super::*;

const DAY: Duration = Duration::from_hours(24);

#[tokio::test]
async fn a_host_that_runs_keeps_its_subnet_reserved_and_released() {
    let (store, held) = store().await;
    let done = reserve(&store, &for_node("0707"), Output::Json).await.unwrap();
    let document: serde_json::Value = serde_json::from_str(&done.data).unwrap();
    assert_eq!(document["reserved"], true);
    assert!(done.notes[0].contains("it stays with 192.0.2.7"), "{done:?}");
    store.expire(held.lease.lease_id.unwrap());
    let again = reserve(&store, &for_node("0707"), Output::Table).await.unwrap();
    assert!(again.data.is_empty() && again.notes[0].contains("already"), "{again:?}");

    let done = release(&store, (subnet(), DAY), Output::Table).await.unwrap();
    assert!(done.notes[0].contains("it ends in 1d00h unless its host renews it"), "{done:?}");
    let lease = store.leases().await.unwrap().leases.remove(0);
    assert_eq!(lease.value, held.lease.value);
    let failure = release(&store, (subnet(), DAY), Output::Table).await.unwrap_err();
    assert!(failure.to_string().contains("no reservation"), "{failure}");
    assert!(failure.to_string().contains("lease revoke 10.88.34.0/24"), "{failure}");
}

#[tokio::test]
async fn flanneld_is_said_to_undo_it() {
    let (store, _held) = store().await;
    store.put_raw("/coreos.com/network/subnets/10.88.34.0-24", br#"{"PublicIP":"192.0.2.8"}"#);
    release(&store, (subnet(), DAY), Output::Table).await.unwrap();
    let args =
        args::Reserve { subnet: subnet(), node: None, public_ip: Some([192, 0, 2, 8].into()) };
    let done = reserve(&store, &args, Output::Table).await.unwrap();
    assert!(done.notes[1].starts_with("warning: ") && done.notes[1].contains("flanneld"));
}

#[tokio::test]
async fn nothing_is_reserved_without_a_network_or_for_nobody() {
    let failure = reserve(&Memory::default(), &for_node("0707"), Output::Table).await.unwrap_err();
    assert_eq!(failure.exit_code(), 4);
    let (store, _held) = store().await;
    let failure = reserve(&store, &for_node("node9"), Output::Table).await.unwrap_err();
    assert_eq!(failure.exit_code(), 4);
    store.delete_raw("/coreos.com/network/subnets/10.88.34.0-24");
    let failure = release(&store, (subnet(), DAY), Output::Table).await.unwrap_err();
    assert_eq!(failure.exit_code(), 4);
    store.write_config("{", Expected::Anything).await.unwrap();
    let whole = NodeId::from_random([8; 16]).to_string();
    let failure = reserve(&store, &for_node(&whole), Output::Table).await.unwrap_err();
    assert!(failure.to_string().contains("not a JSON object"), "{failure}");
}

async fn store() -> (Memory, Held) {
    let store = Memory::default();
    store.write_config(r#"{"Network":"10.88.0.0/16"}"#, Expected::Nothing).await.unwrap();
    let text = br#"{"PublicIP":"192.0.2.7","TwillNodeID":"07070707070707070707070707070707"}"#;
    let value = LeaseValue::parse(text).unwrap();
    let bid = Bid {
        key: subnet().into(),
        value,
        over: Over::Nothing,
        beside: None,
        config: None,
        ttl: DAY,
        record: None,
    };
    let Claimed::Ours(held) = store.claim(&bid).await.unwrap() else { panic!("it was free") };
    (store, held)
}

fn for_node(id: &str) -> args::Reserve {
    args::Reserve { subnet: subnet(), node: Some(id.to_owned()), public_ip: None }
}

fn subnet() -> Subnet {
    "10.88.34.0/24".parse().unwrap()
}
