//! What a host relies on to own its subnet: pictures, records, staying alive, and doubles.

use std::time::Duration;

use crate::support::PATIENCE;
use crate::world::{World, again, bid, contract, node, record, won};
use tokio::time::timeout;
use twill_core::ids::{LeaseId, Underlay};
use twill_core::ownership::Challenge;
use twill_core::pick::Over;
use twill_store::{
    Alive, Asked, Bid, Claimed, Expected, Follow, Question, Renewal, Revoked, Scope, Seen, Store,
    Update, Watch, Written,
};

contract! {
    a_picture_is_everything_at_one_revision,
    a_node_record_is_written_with_the_lease_and_ends_with_it,
    beside_a_reservation_only_the_record_ends,
    staying_alive_writes_nothing,
    a_revision_that_comes_again_is_no_proof,
    what_was_spoilt_ends_with_its_host_again,
    a_question_is_asked_once_and_answered_once,
    a_question_of_our_own_is_replaced,
    a_host_hears_of_configuration_and_questions,
    following_a_host_begins_with_everything,
}

const SOON: Duration = Duration::from_secs(15);

async fn a_picture_is_everything_at_one_revision(world: impl World) {
    let store = world.store();
    let empty = store.picture(node(1)).await.unwrap();
    assert_eq!((empty.config, empty.question), (None, None));
    assert_eq!(empty.listing.leases, []);
    let Written::Done(written) = store.write_config("one", Expected::Nothing).await.unwrap() else {
        panic!("nobody was there before")
    };
    let held = won(store.claim(&bid(7, 1)).await.unwrap());
    asked(&store, 1, 9).await;
    let picture = store.picture(node(1)).await.unwrap();
    let config = picture.config.unwrap();
    assert_eq!((config.text.as_slice(), config.revision), (b"one".as_slice(), written));
    assert_eq!(picture.listing, store.leases().await.unwrap());
    assert_eq!(picture.listing.leases, [held.lease]);
    assert_eq!(picture.question.unwrap().challenge, challenge(9));
    assert_eq!(store.picture(node(2)).await.unwrap().question, None, "it is asked of another");
}

async fn a_node_record_is_written_with_the_lease_and_ends_with_it(world: impl World) {
    let store = world.store();
    let with = Bid { record: Some(record(1)), ..bid(7, 1) };
    let held = won(store.claim(&with).await.unwrap());
    assert_eq!(held.presence, held.lease.lease_id);
    assert_eq!(store.nodes().await.unwrap().records, [record(1)]);
    let late = Bid { record: Some(record(2)), ..bid(7, 2) };
    assert_eq!(store.claim(&late).await.unwrap(), Claimed::Lost);
    assert_eq!(store.nodes().await.unwrap().records, [record(1)], "who loses writes nothing");
    let moved = twill_core::node::NodeRecord { hostname: "renamed".to_owned(), ..record(1) };
    let renewal = Renewal { record: Some(&moved), ..again(&held) };
    won(store.renew(renewal).await.unwrap());
    assert_eq!(store.nodes().await.unwrap().records, [moved]);
    world.expire(held.lease.lease_id.unwrap()).await;
    assert_eq!(store.nodes().await.unwrap().records, []);
}

async fn beside_a_reservation_only_the_record_ends(world: impl World) {
    let store = world.store();
    world.put_raw("subnets/10.88.9.0-24", r#"{"PublicIP":"192.0.2.1"}"#).await;
    let reserved = store.leases().await.unwrap().leases.remove(0);
    let over = Over::Reservation(reserved.revision);
    let held = won(store.claim(&Bid { over, record: Some(record(1)), ..bid(9, 1) }).await.unwrap());
    assert_eq!((held.ttl, held.lease.lease_id), (None, None));
    assert_eq!(store.keep_alive(&held).await.unwrap(), Alive::Yes);
    world.expire(held.presence.unwrap()).await;
    assert_eq!(store.keep_alive(&held).await.unwrap(), Alive::No);
    assert_eq!(store.leases().await.unwrap().leases, std::slice::from_ref(&held.lease));
    assert_eq!(store.nodes().await.unwrap().records, []);
    let first = record(1);
    let renewal = Renewal { record: Some(&first), ..again(&held) };
    let renewed = won(store.renew(renewal).await.unwrap());
    assert_eq!(renewed.lease.lease_id, None);
    assert_eq!(store.nodes().await.unwrap().records, [first]);
    assert_eq!(store.keep_alive(&renewed).await.unwrap(), Alive::Yes);
}

async fn staying_alive_writes_nothing(world: impl World) {
    let store = world.store();
    let held = won(store.claim(&bid(7, 1)).await.unwrap());
    let before = store.leases().await.unwrap();
    assert_eq!(store.keep_alive(&held).await.unwrap(), Alive::Yes);
    assert_eq!(store.leases().await.unwrap(), before);
    world.put_raw("subnets/10.88.7.0-24", &held.lease.value.to_json()).await;
    assert_eq!(store.keep_alive(&held).await.unwrap(), Alive::No, "somebody wrote the key");
    let held = won(store.claim(&bid(8, 2)).await.unwrap());
    world.expire(held.lease.lease_id.unwrap()).await;
    assert_eq!(store.keep_alive(&held).await.unwrap(), Alive::No, "it ran out");
}

async fn a_revision_that_comes_again_is_no_proof(world: impl World) {
    let store = world.store();
    let held = won(store.claim(&bid(7, 1)).await.unwrap());
    // As after a restore: the same revision, another write.
    let mut alike = held.clone();
    alike.lease.lease_id = Some(LeaseId(7));
    assert_eq!(store.renew(again(&alike)).await.unwrap(), Claimed::Lost);
    assert_eq!(store.revoke(&alike.lease).await.unwrap(), Revoked::Changed);
    alike.lease.lease_id = None;
    assert_eq!(store.renew(again(&alike)).await.unwrap(), Claimed::Lost);
    let over = Over::Reservation(held.lease.revision);
    assert_eq!(store.claim(&Bid { over, ..bid(7, 2) }).await.unwrap(), Claimed::Lost);
    assert_eq!(store.leases().await.unwrap().leases, [held.lease]);
}

async fn what_was_spoilt_ends_with_its_host_again(world: impl World) {
    let store = world.store();
    let held = won(store.claim(&bid(7, 1)).await.unwrap());
    world.put_raw("subnets/10.88.7.0-24", "garbage").await;
    let spoilt = store.leases().await.unwrap().malformed.remove(0);
    let over = Over::Unreadable(spoilt.revision, held.lease.lease_id);
    let mended = won(store.claim(&Bid { over, ..bid(7, 1) }).await.unwrap());
    assert_eq!(mended.lease.lease_id, held.lease.lease_id);
    assert_eq!(store.leases().await.unwrap().leases, [mended.lease]);
}

async fn a_question_is_asked_once_and_answered_once(world: impl World) {
    let store = world.store();
    let first = asked(&store, 1, 9).await;
    let there = store.ask(node(1), &challenge(8), SOON).await.unwrap();
    assert_eq!(there, Asked::There(first.clone()));
    let answered = Question {
        challenge: Challenge { answer: Some(Underlay([192, 0, 2, 1].into())), ..challenge(9) },
        ..first
    };
    store.answer(node(1), &answered).await.unwrap();
    let now = store.picture(node(1)).await.unwrap().question.unwrap();
    assert_eq!(now.challenge, answered.challenge);
    assert!(now.revision > answered.revision);
    let late = Question {
        challenge: Challenge { answer: Some(Underlay([192, 0, 2, 2].into())), ..challenge(9) },
        ..answered
    };
    store.answer(node(1), &late).await.unwrap();
    assert_eq!(store.picture(node(1)).await.unwrap().question.unwrap(), now, "it was too late");
    if let Some(count) = world.lease_count().await {
        assert_eq!(count, 1, "the question keeps the end it had, and the refused one left nothing");
    }
}

async fn a_question_of_our_own_is_replaced(world: impl World) {
    let store = world.store();
    let first = asked(&store, 1, 9).await;
    let again = asked(&store, 1, 9).await;
    assert!(again.revision > first.revision);
    world.put_raw(&format!("twill/doubles/{}", node(1)), "nonsense").await;
    let Asked::Placed(_, lease) = store.ask(node(1), &challenge(9), SOON).await.unwrap() else {
        panic!("nonsense is no question")
    };
    store.unask(lease).await;
    assert_eq!(store.picture(node(1)).await.unwrap().question, None);
}

async fn a_host_hears_of_configuration_and_questions(world: impl World) {
    let store = world.store();
    let after = store.leases().await.unwrap().revision;
    let mut watch = store.watch(after, Scope::Host(node(1))).await.unwrap();
    let mut next = async || timeout(PATIENCE, watch.next()).await.unwrap().unwrap();
    let Written::Done(at) = store.write_config("one", Expected::Nothing).await.unwrap() else {
        panic!("nobody was there before")
    };
    let Seen::Config(Some(config), seen) = next().await else { panic!("it was written") };
    assert_eq!((config.text.as_slice(), config.revision, seen), (b"one".as_slice(), at, at));
    asked(&store, 2, 9).await;
    let first = asked(&store, 1, 9).await;
    let question = next().await;
    assert_eq!(question, Seen::Question(Some(first.clone()), first.revision), "ours alone");
    let held = won(store.claim(&bid(7, 1)).await.unwrap());
    assert!(matches!(next().await, Seen::Event(event) if event.revision() == held.lease.revision));
    world.delete_raw("config").await;
    assert!(matches!(next().await, Seen::Config(None, _)));
    world.delete_raw(&format!("twill/doubles/{}", node(1))).await;
    assert!(matches!(next().await, Seen::Question(None, _)));
}

async fn following_a_host_begins_with_everything(world: impl World) {
    let store = world.store();
    store.write_config("one", Expected::Nothing).await.unwrap();
    won(store.claim(&bid(7, 1)).await.unwrap());
    let mut follow = Follow::new(store.clone(), Scope::Host(node(1)));
    let mut next = async || timeout(PATIENCE, follow.next()).await.unwrap();
    let Update::Event(first) = next().await else { panic!("it begins with the leases") };
    assert!(matches!(first, twill_core::lease::Event::Snapshot(all) if all.leases.len() == 1));
    assert!(matches!(next().await, Update::Config(Some(text)) if text.text == b"one"));
    assert!(matches!(next().await, Update::Question(None)));
    store.write_config("two", Expected::Anything).await.unwrap();
    assert!(matches!(next().await, Update::Config(Some(text)) if text.text == b"two"));
}

async fn asked(store: &impl Store, host: u8, asker: u8) -> Question {
    match store.ask(node(host), &challenge(asker), SOON).await.unwrap() {
        Asked::Placed(revision, _) => Question { challenge: challenge(asker), revision },
        Asked::There(other) => panic!("{other:?} was there before"),
    }
}

fn challenge(host: u8) -> Challenge {
    let public_ip = Underlay([192, 0, 2, host].into());
    Challenge { public_ip, hostname: format!("node{host}"), answer: None }
}
