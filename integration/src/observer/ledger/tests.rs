use super::*;

const A: &str = "10.5.1.0-24";
const B: &str = "10.5.2.0-24";

/// One history: what is written from revision 2 on, and what is wrong with it in words.
type Row = (&'static str, &'static [(&'static str, Option<&'static str>)], &'static [&'static str]);

const ROWS: [Row; 12] = [
    ("two hosts, two subnets", &[(A, Some("one")), (B, Some("two"))], &[]),
    ("a renewal", &[(A, Some("one")), (A, Some("one"))], &[]),
    ("a host with a new address is still itself", &[(A, Some("one")), (A, Some("one moved"))], &[]),
    (
        "another host wrote over a lease",
        &[(A, Some("one")), (A, Some("two"))],
        &["revision 3: 10.5.1.0-24 of"],
    ),
    ("what has ended is free", &[(A, Some("one")), (A, None), (A, Some("two"))], &[]),
    ("flanneld's lease, taken over on the same host", &[(A, Some("bare")), (A, Some("one"))], &[]),
    (
        "flanneld's lease, taken by another host",
        &[(A, Some("bare")), (A, Some("two"))],
        &["revision 3: 10.5.1.0-24 of the host at 192.0.2.1"],
    ),
    (
        "a lease of ours, written over by a flanneld of the same address",
        &[(A, Some("one")), (A, Some("bare"))],
        &["written over by the host at 192.0.2.1"],
    ),
    (
        "a block around two others",
        &[(A, Some("one")), (B, Some("two")), ("10.5.0.0-22", Some("three"))],
        &["revision 4: 10.5.0.0-22"],
    ),
    (
        "an overlap is told at each revision that leaves it there",
        &[(A, Some("one")), ("10.5.0.0-16", Some("one")), (A, Some("one"))],
        &["revision 3", "revision 4"],
    ),
    ("no subnet", &[("all", Some("one"))], &["all is no lease"]),
    ("no value", &[(A, Some("nonsense"))], &["10.5.1.0-24 is no lease"]),
];

#[test]
fn judges() {
    for (name, history, wanted) in ROWS {
        let mut ledger = Ledger::default();
        for (revision, (key, owner)) in (2..).zip(history) {
            let value = owner.map(value);
            let write = value.as_deref().map_or(Write::Gone, |value| Write::Put(value.as_bytes()));
            ledger.write(Revision(revision), [(*key, write)]);
        }
        let found: Vec<String> = ledger.violations().iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), wanted.len(), "{name}: {found:#?}");
        for (found, words) in found.iter().zip(wanted) {
            assert!(found.contains(words), "{name}: {found} does not say {words}");
        }
    }
}

#[test]
fn a_block_inside_another_is_found_wherever_it_stands() {
    let blocks = ["10.5.0.0-16", "10.5.0.0-24", "10.5.7.0-24", "10.5.255.0-24", "10.6.0.0-24"];
    for one in blocks {
        for other in blocks.iter().filter(|other| **other != one) {
            let mut ledger = Ledger::default();
            let [first, second, third] = ["one", "two", "three"].map(value);
            let write = |value| Write::Put(str::as_bytes(value));
            ledger.write(Revision(2), [("10.4.0.0-24", write(&third)), (one, write(&first))]);
            ledger.write(Revision(3), [(*other, write(&second))]);
            let [inner, outer] = [one, other].map(|key| key.parse::<Key>().unwrap().subnet);
            assert_eq!(!ledger.violations().is_empty(), inner.overlaps(outer), "{one} {other}");
        }
    }
}

#[test]
fn what_was_not_seen_is_no_proof() {
    let mut ledger = Ledger::default();
    ledger.write(Revision(2), []);
    ledger.write(Revision(4), []);
    assert_eq!(ledger.violations().len(), 1, "{:?}", ledger.violations());
    assert!(ledger.violations()[0].to_string().contains("the next one seen was 4"));
    let mut late = Ledger::default();
    late.write(Revision(3), []);
    assert_eq!(late.violations().len(), 1, "the first write of all was not seen");
}

#[test]
fn a_copy_of_etcd_is_another_history_and_has_to_be_announced() {
    let mut ledger = Ledger::default();
    let [one, two] = ["one", "two"].map(value);
    ledger.write(Revision(2), [(A, Write::Put(one.as_bytes()))]);
    ledger.announce_restore();
    ledger.begin_again(Revision(2), [(A, two.as_bytes())]);
    assert_eq!(ledger.violations(), [], "a restore may change the owner");
    ledger.write(Revision(3), [(A, Write::Put(one.as_bytes()))]);
    let [taken] = ledger.violations() else { panic!("{:?}", ledger.violations()) };
    assert!(taken.to_string().starts_with("revision 3 after restore 1: 10.5.1.0-24"), "{taken}");
    ledger.begin_again(Revision(2), []);
    assert!(matches!(ledger.violations(), [_, Violation::Rewritten { .. }]), "only one was due");
}

#[test]
fn a_host_with_two_subnets_is_found_when_all_is_still() {
    let mut ledger = Ledger::default();
    let one = value("one");
    ledger.write(Revision(2), [(A, Write::Put(one.as_bytes()))]);
    assert_eq!(ledger.greedy(), []);
    ledger.write(Revision(3), [(B, Write::Put(one.as_bytes()))]);
    let [(node, keys)] = &ledger.greedy()[..] else { panic!("{:?}", ledger.greedy()) };
    assert_eq!((*node, keys.len()), (NodeId::from_random([1; 16]), 2));
    ledger.write(Revision(4), [(A, Write::Gone)]);
    assert_eq!(ledger.greedy(), []);
    let tally = Tally { revisions: 3, claimed: 2, renewed: 0, ended: 1 };
    assert_eq!(ledger.tally(), tally);
}

fn value(name: &str) -> String {
    let (address, node) = match name {
        "one" => ("192.0.2.1", 1),
        "one moved" => ("192.0.2.100", 1),
        "two" => ("192.0.2.2", 2),
        "three" => ("192.0.2.3", 3),
        "bare" => return r#"{"PublicIP":"192.0.2.1","PublicIPv6":null}"#.to_owned(),
        nonsense => return nonsense.to_owned(),
    };
    let node = NodeId::from_random([node; 16]);
    format!(r#"{{"PublicIP":"{address}","PublicIPv6":null,"TwillNodeID":"{node}"}}"#)
}
