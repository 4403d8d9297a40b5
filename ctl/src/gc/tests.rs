use std::time::Duration;

use twill_core::ids::{NodeId, Revision, Underlay};
use twill_core::lease::LeaseValue;
use twill_core::pick::Over;
use twill_store::{Bid, Claimed, Held, Life, Memory, Renewal, Store as _};

use super::*;
use crate::golden;

const HOUR: u64 = 3600;

#[test]
fn what_would_be_freed_as_table_and_json() {
    let found = found(&args());
    let subnets: Vec<String> =
        found.with(Verdict::Free).map(|holder| holder.lease.subnet().to_string()).collect();
    assert_eq!(subnets, ["10.88.2.0/24", "10.88.5.0/24"]);
    let all = Gc { include_unknown: true, ..args() };
    let found = self::found(&all);
    let outcomes = [Outcome::Freed, Outcome::SeenAgain, Outcome::Ended];
    let rows: Vec<Row> = found
        .with(Verdict::Free)
        .zip(outcomes)
        .map(|(holder, outcome)| Row::new(holder, outcome, &found.nodes))
        .collect();
    assert_eq!(rows.iter().filter_map(Row::stays).count(), 2);
    golden::check("lease-gc.txt", &table::render(&rows, Output::Table));
    golden::check("lease-gc.json", &table::render(&rows, Output::Json));
    assert_eq!(table::render(&[], Output::Table), "");
    assert_eq!(table::render(&[], Output::Json), "[]\n");
}

#[test]
fn what_stays_is_said() {
    let notes = remarks(&found(&args()), &args());
    assert_eq!(notes.len(), 2);
    assert!(notes[0].ends_with(": 10.88.6.0/24") && notes[0].contains("--include-unknown"));
    assert!(notes[1].ends_with("and stay: 10.88.3.0/24"), "{notes:?}");

    let named = Gc {
        subnets: ["10.88.1.0/24", "10.88.6.0/24"].map(|text| text.parse().unwrap()).to_vec(),
        ..args()
    };
    let found = found(&named);
    assert_eq!(found.with(Verdict::Free).count(), 1, "what is named need not be known");
    let notes = remarks(&found, &named);
    assert_eq!(notes, ["these were seen since, and stay: 10.88.1.0/24"]);
}

#[test]
fn a_name_that_nobody_has_is_refused() {
    let named = Gc { subnets: vec!["10.88.77.0/24".parse().unwrap()], ..args() };
    let clock = Clock { presences: &BTreeMap::new(), lives: &BTreeMap::new() };
    let failure = judge(&listing(), &clock, &named).unwrap_err();
    assert_eq!(failure.exit_code(), 4);
}

/// A host that is gone, with the time of its lease, and the reservation of another.
async fn store() -> (Memory, Held) {
    let store = Memory::default();
    let Lease { key, value, .. } = lease(2, Some(2), None);
    let bid = Bid {
        key,
        value,
        over: Over::Nothing,
        beside: None,
        config: None,
        ttl: Duration::from_hours(24),
        record: None,
    };
    let Claimed::Ours(held) = store.claim(&bid).await.unwrap() else { panic!("it was free") };
    store.pass(held.presence.unwrap(), Duration::from_hours(3));
    store.put_raw("/coreos.com/network/subnets/10.88.6.0-24", br#"{"PublicIP":"192.0.2.6"}"#);
    (store, held)
}

#[tokio::test]
async fn only_after_a_yes_and_only_what_was_shown_is_freed() {
    let (store, _held) = store().await;
    let dry = Gc { dry_run: true, ..args() };
    let never = async |question: &str| panic!("asked: {question}");
    let done = gc(&store, &dry, Output::Table, never).await.unwrap();
    assert!(done.data.contains("10.88.2.0/24") && done.data.contains("to free"), "{done:?}");
    let no = async |question: &str| {
        assert!(question.ends_with("free this subnet?"), "{question}");
        Ok(false)
    };
    assert_eq!(gc(&store, &args(), Output::Table, no).await.unwrap_err().exit_code(), 1);
    assert_eq!(store.leases().await.unwrap().leases.len(), 2);

    let yes = Gc { yes: true, ..args() };
    let done = gc(&store, &yes, Output::Table, never).await.unwrap();
    assert!(done.data.contains("freed") && done.code == 0, "{done:?}");
    let left = store.leases().await.unwrap().leases;
    assert_eq!(left[0].subnet().to_string(), "10.88.6.0/24", "nobody knows of that one");
    let done = gc(&store, &yes, Output::Table, never).await.unwrap();
    assert_eq!(done.notes.last().unwrap(), "there is nothing to free");
    let named = Gc { subnets: vec![left[0].subnet()], ..yes };
    gc(&store, &named, Output::Table, never).await.unwrap();
    assert_eq!(store.leases().await.unwrap().leases, []);
}

#[tokio::test]
async fn a_host_that_comes_back_before_the_answer_keeps_its_subnet() {
    let (store, held) = store().await;
    let kept_alive = async |_question: &str| {
        store.keep_alive(&held).await.unwrap();
        Ok(true)
    };
    let done = gc(&store, &args(), Output::Table, kept_alive).await.unwrap();
    assert!(done.data.contains("seen again"), "{done:?}");
    store.pass(held.presence.unwrap(), Duration::from_hours(3));
    let renewed = async |_question: &str| {
        let ttl = Duration::from_hours(24);
        store.renew(Renewal { held: &held, record: None, ttl }).await.unwrap();
        Ok(true)
    };
    let done = gc(&store, &args(), Output::Table, renewed).await.unwrap();
    assert!(done.data.contains("written anew"), "{done:?}");
    assert_eq!(store.leases().await.unwrap().leases.len(), 2);
    store.pass(held.presence.unwrap(), Duration::from_hours(3));
    let ended = async |_question: &str| {
        store.expire(held.presence.unwrap());
        Ok(true)
    };
    let done = gc(&store, &args(), Output::Table, ended).await.unwrap();
    assert!(done.notes.iter().any(|note| note.contains("was gone already")), "{done:?}");
}

#[test]
fn what_changed_meanwhile_is_left_alone() {
    let shown = found(&args());
    let doomed: Vec<&Holder> = shown.with(Verdict::Free).collect();
    assert!(doomed.iter().all(|holder| still(&shown, holder).is_none()));

    let mut now = found(&args());
    now.holders[1].lease.revision = Revision(99);
    assert_eq!(still(&now, doomed[0]), Some(Outcome::WrittenAnew));
    let mut now = found(&args());
    now.holders[1].verdict = Verdict::Seen;
    assert_eq!(still(&now, doomed[0]), Some(Outcome::SeenAgain));
    now.holders.remove(1);
    assert_eq!(still(&now, doomed[0]), Some(Outcome::Ended));
}

fn found(args: &Gc) -> Finding {
    let life = |granted, idle| Life { granted, remaining: granted - idle };
    let lives = BTreeMap::from([
        (LeaseId(1), life(24 * HOUR, 300)),
        (LeaseId(2), life(24 * HOUR, 5 * HOUR)),
        (LeaseId(3), life(24 * HOUR, 20 * HOUR)),
        (LeaseId(5), life(24 * HOUR, 3 * HOUR)),
    ]);
    let presences = BTreeMap::from([(id(5), Some(LeaseId(5)))]);
    let clock = Clock { presences: &presences, lives: &lives };
    let nodes = vec![NodeRecord {
        id: id(5),
        hostname: "node5".to_owned(),
        public_ip: Underlay([192, 0, 2, 5].into()),
        subnet: "10.88.5.0/24".parse().unwrap(),
        ipv6: None,
        version: "0.1.0".to_owned(),
        started: 1_700_000_000,
    }];
    Finding { holders: judge(&listing(), &clock, args).unwrap(), nodes }
}

/// A host that lives, one that does not, one of flannel, a reservation whose host is gone, and one
/// that nobody knows of.
fn listing() -> Listing {
    let leases = vec![
        lease(6, None, None),
        lease(5, Some(5), None),
        lease(3, None, Some(3)),
        lease(2, Some(2), Some(2)),
        lease(1, Some(1), Some(1)),
    ];
    Listing { leases, ..Listing::default() }
}

fn lease(third: u8, node: Option<u8>, lease_id: Option<i64>) -> Lease {
    let value = format!(r#"{{"PublicIP":"192.0.2.{third}"}}"#);
    let mut value = LeaseValue::parse(value.as_bytes()).unwrap();
    value.node = node.map(id);
    Lease {
        key: format!("10.88.{third}.0-24").parse().unwrap(),
        value,
        revision: Revision(i64::from(third)),
        lease_id: lease_id.map(LeaseId),
    }
}

fn id(byte: u8) -> NodeId {
    NodeId::from_random([byte; 16])
}

fn args() -> Gc {
    Gc {
        subnets: Vec::new(),
        unseen: Duration::from_hours(2),
        include_unknown: false,
        dry_run: false,
        yes: false,
    }
}
