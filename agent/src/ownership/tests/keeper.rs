use twill_core::pick::Over;
use twill_store::{Bid, Claimed, Rewritten};

use super::*;

/// A moment before the unchanged value is written again.
const JUST_BEFORE: Duration = Duration::from_secs(6 * 3600 - 1);

#[tokio::test(start_paused = true)]
async fn stays_alive_often_and_writes_seldom() {
    let memory = network();
    let mut host = Host::start(&memory, wish(&memory, 1).await).await;
    pass(JUST_BEFORE).await;
    assert_eq!(host.now().await.expect("there"), host.first.lease, "nothing was written");
    pass(2 * MOMENT).await;
    let second = host.now().await.expect("there");
    assert!(second.revision > host.first.lease.revision, "peers that missed it are told again");
    assert_eq!(second.lease_id, host.first.lease.lease_id);
    assert_eq!(memory.nodes().await.expect("the twin answers").records.len(), 1);
    assert_eq!(host.left().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_ended_is_found_out_without_a_watch() {
    let memory = network();
    let mut host = Host::start(&memory, wish(&memory, 1).await).await;
    pass(MOMENT).await;
    host.follower.abort();
    memory.expire(host.first.lease.lease_id.expect("a lease"));
    pass(Duration::from_mins(10)).await;
    assert_eq!(host.now().await.expect("claimed again").value, host.first.lease.value);
    assert_eq!(host.left().await, None);
}

#[tokio::test(start_paused = true)]
async fn takes_a_lease_that_is_gone_back_within_a_second() {
    let memory = network();
    let mut host = Host::start(&memory, wish(&memory, 1).await).await;
    pass(MOMENT).await;
    memory.delete_raw(&host.key());
    pass(MOMENT).await;
    let lease = host.now().await.expect("claimed again");
    assert_eq!(lease.value, host.first.lease.value);
    assert!(lease.lease_id.is_some());
    assert_eq!(host.left().await, None);
}

#[tokio::test(start_paused = true)]
async fn takes_a_lease_back_that_ran_out_while_etcd_was_away() {
    let memory = network();
    let mut host = Host::start(&memory, wish(&memory, 1).await).await;
    pass(MOMENT).await;
    memory.set_away(true);
    memory.expire(host.first.lease.lease_id.expect("a lease"));
    pass(MOMENT).await;
    memory.set_away(false);
    pass(Duration::from_secs(10)).await;
    assert!(host.now().await.is_some());
    assert_eq!(host.left().await, None);
}

#[tokio::test(start_paused = true)]
async fn steps_back_for_another_host() {
    let memory = network();
    let mut host = Host::start(&memory, wish(&memory, 1).await).await;
    pass(MOMENT).await;
    memory.put_raw(&host.key(), br#"{"PublicIP":"192.0.2.66","PublicIPv6":null}"#);
    pass(MOMENT).await;
    assert!(matches!(host.left().await, Some(Left::Displaced(_))));
    let lease = host.now().await.expect("the other host's lease");
    assert_eq!(lease.value.public_ip, ip(66), "and keeps it");
}

#[tokio::test(start_paused = true)]
async fn steps_back_when_another_host_was_faster_during_an_outage() {
    let memory = network();
    let mut host = Host::start(&memory, wish(&memory, 1).await).await;
    pass(MOMENT).await;
    // The twin fails everybody, so the other host comes before the watch can see it.
    memory.expire(host.first.lease.lease_id.expect("a lease"));
    let other = wish(&memory, 2).await;
    let bid = Bid {
        key: host.subnet().into(),
        value: other.value.clone(),
        over: Over::Nothing,
        beside: None,
        config: None,
        ttl: DEFAULT_TTL,
        record: None,
    };
    assert!(matches!(memory.claim(&bid).await, Ok(Claimed::Ours(_))));
    pass(MOMENT).await;
    assert!(matches!(host.left().await, Some(Left::Displaced(_))));
    assert_eq!(host.now().await.expect("theirs").value, other.value);
}

/// Hosts under the new configuration could have taken parts of the old subnet meanwhile.
#[tokio::test(start_paused = true)]
async fn a_lost_subnet_that_the_configuration_outgrew_is_not_taken_back() {
    let memory = network();
    let mut host = Host::start(&memory, wish(&memory, 1).await).await;
    memory.put_raw(CONFIG_KEY, br#"{"Network":"10.5.0.0/22","SubnetLen":26}"#);
    pass(MOMENT).await;
    assert_eq!(host.left().await, None, "who has a subnet keeps it");
    memory.delete_raw(&host.key());
    pass(MOMENT).await;
    assert!(matches!(host.left().await, Some(Left::Displaced(_))));
    assert_eq!(leases(&memory).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_reservation_made_of_our_lease_stays_one() {
    let memory = network();
    let mut host = Host::start(&memory, wish(&memory, 1).await).await;
    pass(MOMENT).await;
    memory.put_raw(&host.key(), host.first.lease.value.to_json().as_bytes());
    memory.expire(host.first.lease.lease_id.expect("a lease"));
    pass(3 * DEFAULT_TTL).await;
    let lease = host.now().await.expect("still there");
    assert_eq!(lease.lease_id, None, "nobody gave it an end again");
    let records = memory.nodes().await.expect("the twin answers").records;
    assert_eq!(records.len(), 1, "and the host is seen beside it");
    assert_eq!(host.left().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_reservation_undone_is_a_lease_again() {
    let memory = network();
    memory.put_raw("/coreos.com/network/subnets/10.5.2.0-24", br#"{"PublicIP":"192.0.2.1"}"#);
    let mut host = Host::start(&memory, wish(&memory, 1).await).await;
    pass(MOMENT).await;
    let reserved = host.now().await.expect("there");
    assert_eq!(reserved.lease_id, None);
    let released = memory.release(&reserved, Duration::from_mins(5)).await;
    let Ok(Rewritten::Done(made)) = released else { panic!("it was as read") };
    pass(Duration::from_hours(1)).await;
    let lease = host.now().await.expect("there");
    assert_eq!(lease.lease_id, made.lease_id, "and it is kept alive");
    assert_eq!(host.left().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_lease_as_short_as_its_reservation_was_released_for_is_kept_alive() {
    let memory = network();
    memory.put_raw("/coreos.com/network/subnets/10.5.2.0-24", br#"{"PublicIP":"192.0.2.1"}"#);
    let mut host = Host::start(&memory, wish(&memory, 1).await).await;
    pass(MOMENT).await;
    let reserved = host.now().await.expect("there");
    let released = memory.release(&reserved, Duration::from_mins(1)).await;
    assert!(matches!(released, Ok(Rewritten::Done(_))));
    for _moment in 0..3600 {
        pass(MOMENT).await;
        memory.expire_due();
        assert!(host.now().await.is_some(), "another host could have taken it");
    }
    assert_eq!(host.left().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_lease_remembered_near_its_end_is_an_ordinary_one_once_etcd_knows_it() {
    let memory = network();
    let (tenant, joined) = join(&memory, wish(&memory, 1).await).await;
    let Joined { held, since, .. } = joined.expect("a subnet");
    let remembered = Held { ttl: Some(Duration::from_mins(1)), ..held };
    let (_seen, seen) = watch::channel(Mine::default());
    let (_value, value) = watch::channel(tenant.wish.value.clone());
    let (tells, mut told) = watch::channel(None);
    let keeper = Keeper::new(tenant, (remembered, since), MARGIN).tells(tells);
    let keeper = tokio::spawn(keeper.run((seen, value), false));
    pass(MOMENT).await;
    let believed = told.borrow_and_update().clone().expect("it is held");
    assert_eq!(believed.ttl, DEFAULT_TTL);
    let mut kept_alive = 0;
    for _moment in 0..3600 {
        pass(MOMENT).await;
        kept_alive += u8::from(told.has_changed().expect("it runs"));
        told.mark_unchanged();
    }
    assert!(kept_alive <= 6, "{kept_alive} times in an hour");
    keeper.abort();
}

#[tokio::test(start_paused = true)]
async fn a_second_listing_is_no_reason_to_write() {
    let memory = network();
    let mut host = Host::start(&memory, wish(&memory, 1).await).await;
    pass(MOMENT).await;
    memory.compact();
    pass(Duration::from_secs(10)).await;
    assert_eq!(host.now().await.expect("there"), host.first.lease);
    assert_eq!(host.left().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_value_spoilt_by_hand_is_put_right() {
    let memory = network();
    let mut host = Host::start(&memory, wish(&memory, 1).await).await;
    pass(MOMENT).await;
    memory.put_raw(&host.key(), b"garbage");
    pass(MOMENT).await;
    let lease = host.now().await.expect("written again");
    assert_eq!(lease.value, host.first.lease.value);
    assert!(lease.lease_id.is_some(), "and it ends if we do");
    pass(3 * DEFAULT_TTL).await;
    assert!(host.now().await.is_some());
    assert_eq!(host.left().await, None);
}

#[tokio::test(start_paused = true)]
async fn peers_are_told_at_once_what_changed() {
    let memory = network();
    let mut host = Host::start(&memory, wish(&memory, 1).await).await;
    pass(MOMENT).await;
    let moved = LeaseValue { public_ip: ip(9), ..host.first.lease.value.clone() };
    host.value.send_replace(moved.clone());
    pass(Duration::from_millis(100)).await;
    let lease = host.now().await.expect("there");
    assert_eq!(lease.value, moved);
    assert_eq!(lease.lease_id, host.first.lease.lease_id);
    assert_eq!(host.left().await, None);
}

#[tokio::test(start_paused = true)]
async fn readiness_follows_the_lease() {
    let memory = network();
    let host = Host::start(&memory, wish(&memory, 1).await).await;
    pass(MOMENT).await;
    let ran_out = || host.board.unready().contains(&"the lease ran out".to_owned());
    memory.set_away(true);
    pass(Duration::from_mins(24 * 60 - 11)).await;
    assert!(!ran_out());
    pass(Duration::from_mins(11)).await;
    assert!(ran_out());
    memory.set_away(false);
    pass(Duration::from_secs(10)).await;
    assert!(!ran_out());
}
