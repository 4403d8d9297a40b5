//! A keeper against the store's in-memory twin, with time that passes at our word.

use tokio::task::JoinHandle;
use twill_core::ids::Revision;
use twill_core::lease::LeaseValue;
use twill_core::peers::{Known, Own, View};
use twill_store::{Bid, Follow, Memory};

use super::*;
use crate::claim::TTL;
use crate::claim::tests::wish;
use crate::follow::{News, follow};

const MARGIN: Duration = Duration::from_hours(1);
const MOMENT: Duration = Duration::from_secs(1);
/// A moment before the first renewal.
const JUST_BEFORE: Duration = Duration::from_secs(23 * 3600 - 1);

/// A host that has a subnet, with its keeper and its watch running.
struct Host {
    memory: Memory,
    keeper: JoinHandle<Displaced>,
    follower: JoinHandle<()>,
    first: Held,
    board: Board,
}

impl Host {
    async fn start(memory: &Memory) -> Self {
        let (wish, memory) = (wish(1), memory.clone());
        let listing = memory.leases().await.expect("the twin answers");
        let revision = listing.revision;
        let (choice, held, _) = wish.claim(&memory, listing).await.expect("a subnet");
        let own = Own {
            node: wish.node,
            network: wish.config.network,
            subnet: choice.subnet,
            public_ip: wish.public_ip,
            mac: None,
            backend: wish.config.backend.clone(),
        };
        let (own_lease, seen) = watch::channel(Some(held.lease.clone()));
        let news = News { view: watch::channel(View::default()).0, own: own_lease };
        let story = Follow::after(memory.clone(), revision);
        let follower =
            tokio::spawn(follow(story, (own, Known::default()), (news, Board::default())));
        let board = Board::default();
        let record = NodeRecord {
            id: wish.node,
            hostname: "node1".to_owned(),
            public_ip: wish.public_ip,
            subnet: choice.subnet,
            version: "0".to_owned(),
            started: 0,
        };
        let keeper = Keeper {
            store: memory.clone(),
            wish,
            held: held.clone(),
            since: Instant::now(),
            margin: MARGIN,
            seen,
            withdraw: choice.withdraw,
            record,
            board: board.clone(),
        };
        let keeper = tokio::spawn(keeper.run());
        Self { memory, keeper, follower, first: held, board }
    }

    async fn now(&self) -> Option<Lease> {
        let listing = self.memory.leases().await.expect("the twin answers");
        listing.leases.into_iter().find(|lease| lease.key == self.first.lease.key)
    }

    fn key(&self) -> String {
        format!("/coreos.com/network/subnets/{}", self.first.lease.key)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.keeper.abort();
        self.follower.abort();
    }
}

/// Lets everything happen that is due within that time.
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

#[tokio::test(start_paused = true)]
async fn renews_an_hour_before_the_end() {
    let host = Host::start(&Memory::default()).await;
    pass(JUST_BEFORE).await;
    assert_eq!(host.now().await.unwrap().revision, host.first.lease.revision, "not before");
    pass(2 * MOMENT).await;
    let second = host.now().await.expect("renewed").revision;
    assert!(second > host.first.lease.revision, "an hour before");
    pass(TTL).await;
    assert!(host.now().await.expect("renewed again").revision > second);
    let nodes = host.memory.nodes().await.expect("the twin answers");
    assert_eq!(nodes.records.len(), 1, "the node record lives with the lease");
}

#[tokio::test(start_paused = true)]
async fn renews_late_when_etcd_comes_back_late() {
    let host = Host::start(&Memory::default()).await;
    pass(JUST_BEFORE).await;
    host.memory.set_away(true);
    pass(MARGIN / 2).await;
    host.memory.set_away(false);
    pass(Duration::from_secs(10)).await;
    assert!(host.now().await.expect("renewed").revision > host.first.lease.revision);
    assert!(!host.keeper.is_finished());
}

#[tokio::test(start_paused = true)]
async fn takes_a_lease_that_is_gone_back_at_once() {
    let host = Host::start(&Memory::default()).await;
    pass(MOMENT).await;
    host.memory.delete_raw(&host.key());
    pass(MOMENT).await;
    let lease = host.now().await.expect("claimed again");
    assert_eq!(lease.value, host.first.lease.value);
    assert!(lease.lease_id.is_some() && !host.keeper.is_finished());
}

#[tokio::test(start_paused = true)]
async fn takes_a_lease_back_that_ran_out_while_etcd_was_away() {
    let host = Host::start(&Memory::default()).await;
    pass(MOMENT).await;
    host.memory.set_away(true);
    host.memory.expire(host.first.lease.lease_id.expect("a lease"));
    pass(MOMENT).await;
    host.memory.set_away(false);
    pass(Duration::from_secs(10)).await;
    assert!(host.now().await.is_some() && !host.keeper.is_finished());
}

#[tokio::test(start_paused = true)]
async fn steps_aside_for_another_host() {
    let host = Host::start(&Memory::default()).await;
    pass(MOMENT).await;
    host.memory.put_raw(&host.key(), br#"{"PublicIP":"192.0.2.66","PublicIPv6":null}"#);
    pass(MOMENT).await;
    assert!(host.keeper.is_finished(), "the other host owns the subnet");
    let lease = host.now().await.expect("the other host's lease");
    assert_eq!(lease.value.public_ip.to_string(), "192.0.2.66", "and keeps it");
}

#[tokio::test(start_paused = true)]
async fn steps_aside_when_another_host_was_faster_during_an_outage() {
    let host = Host::start(&Memory::default()).await;
    pass(MOMENT).await;
    // The twin fails everybody, so the other host comes before the watch can see it.
    host.memory.expire(host.first.lease.lease_id.expect("a lease"));
    let other = wish(2);
    let bid = Bid {
        subnet: host.first.lease.subnet(),
        value: LeaseValue {
            public_ip: other.public_ip,
            node: Some(other.node),
            ..host.first.lease.value.clone()
        },
        over: Over::Nothing,
        config: None,
        ttl: TTL,
    };
    assert!(matches!(host.memory.claim(&bid).await, Ok(Claimed::Ours(_))));
    pass(MOMENT).await;
    assert!(host.keeper.is_finished());
    assert_eq!(host.now().await.expect("theirs").value.node, Some(other.node));
}

#[tokio::test(start_paused = true)]
async fn a_reservation_made_of_our_lease_stays_one() {
    let host = Host::start(&Memory::default()).await;
    pass(MOMENT).await;
    host.memory.put_raw(&host.key(), host.first.lease.value.to_json().as_bytes());
    pass(3 * TTL).await;
    let lease = host.now().await.expect("still there");
    assert_eq!(lease.lease_id, None, "nobody gave it an end again");
    assert!(!host.keeper.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_second_listing_is_no_reason_to_write() {
    let host = Host::start(&Memory::default()).await;
    pass(MOMENT).await;
    host.memory.compact();
    pass(Duration::from_secs(10)).await;
    assert_eq!(host.now().await.expect("there").revision, host.first.lease.revision);
}

#[tokio::test(start_paused = true)]
async fn a_value_spoilt_by_hand_is_put_right() {
    let host = Host::start(&Memory::default()).await;
    pass(MOMENT).await;
    host.memory.put_raw(&host.key(), b"garbage");
    pass(MOMENT).await;
    let lease = host.now().await.expect("written again");
    assert_eq!(lease.value, host.first.lease.value);
    assert!(lease.lease_id.is_some(), "and it ends if we do");
    pass(3 * TTL).await;
    assert!(host.now().await.is_some() && !host.keeper.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_this_host_does_not_make_two_fight() {
    let host = Host::start(&Memory::default()).await;
    pass(MOMENT).await;
    let own = host.first.lease.value.clone();
    let theirs = LeaseValue { public_ip: wish(2).public_ip, ..own.clone() };
    host.memory.put_raw(&host.key(), theirs.to_json().as_bytes());
    pass(Duration::from_mins(1)).await;
    let lease = host.now().await.expect("theirs");
    assert_eq!(lease.value, theirs, "left alone");
    assert!(!host.keeper.is_finished(), "a new subnet would be the copy's as well");
    let why = host.board.unready();
    assert!(
        why.contains(&"the host at 192.0.2.2 has the node id of this one".to_owned()),
        "{why:?}"
    );
    host.memory.delete_raw(&host.key());
    pass(Duration::from_secs(10)).await;
    assert_eq!(host.now().await.expect("ours again").value, own);
    let why = host.board.unready();
    assert!(!why.iter().any(|why| why.contains("node id")), "{why:?}");
}

#[test]
fn an_older_revision_proves_nothing_of_a_foreign_value() {
    let lease = |n: u8, revision| {
        let value = LeaseValue {
            public_ip: wish(n).public_ip,
            public_ipv6: None,
            backend: twill_core::lease::LeaseBackend::Unnamed,
            node: Some(wish(n).node),
        };
        let subnet: Subnet = "10.5.1.0/24".parse().expect("a subnet");
        Lease { key: subnet.into(), value, revision: Revision(revision), lease_id: None }
    };
    let held = Held { lease: lease(1, 50), ttl: None };
    assert_eq!(judge(&held, Some(lease(1, 50))), Sight::Fine);
    assert_eq!(judge(&held, Some(lease(1, 40))), Sight::Fine, "the watch runs behind");
    assert!(matches!(judge(&held, Some(lease(1, 60))), Sight::Rewritten(_)));
    assert_eq!(judge(&held, Some(lease(2, 60))), Sight::Gone);
    assert_eq!(judge(&held, Some(lease(2, 40))), Sight::Gone, "etcd was put back from a copy");

    let mut moved = lease(1, 60);
    moved.value.public_ip = wish(2).public_ip;
    assert!(is_by_a_copy(&held.lease, &moved), "written after us, and not by us");
    moved.revision = Revision(40);
    assert!(!is_by_a_copy(&held.lease, &moved), "ours, from before we got another address");
    assert!(!is_by_a_copy(&held.lease, &lease(2, 60)), "quite another host");
}
