//! Networks of both families: a host has a block of each, and no two hosts share one.

use twill_core::lease::Key;

use super::*;

const BOTH: &[u8] = br#"{"Network":"10.5.0.0/22","EnableIPv6":true,"IPv6Network":"fd00:5::/62",
    "Backend":{"Type":"host-gw"}}"#;

fn both() -> Memory {
    let memory = Memory::default();
    memory.put_raw(CONFIG_KEY, BOTH);
    memory
}

fn pair(ipv4: u8, ipv6: u8) -> Key {
    format!("10.5.{ipv4}.0-24&fd00:5:0:{ipv6}::-64").parse().expect("a key")
}

/// Each decides on what was there before the others came.
async fn join_at_once(memory: &Memory, previous: &[Option<Key>]) -> Vec<Key> {
    let mut hosts = Vec::new();
    for (n, previous) in (1..).zip(previous) {
        let wish = Wish { previous: *previous, ..wish(memory, n).await };
        hosts.push((memory.picture(wish.node).await.expect("the twin answers"), wish));
    }
    let mut keys = Vec::new();
    for (picture, wish) in hosts {
        let joined = Tenant::new(memory.clone(), wish).join(None, picture).await;
        keys.push(joined.expect("there is room").held.lease.key);
    }
    keys
}

#[track_caller]
fn assert_apart(keys: &[Key]) {
    for (n, key) in keys.iter().enumerate() {
        assert!(key.ipv6.is_some(), "{keys:?}");
        assert!(!keys[..n].iter().any(|other| other.overlaps(key)), "{keys:?}");
    }
}

/// Every pair of blocks that two hosts may have had.
#[tokio::test(start_paused = true)]
async fn hosts_that_remember_pairs_which_cross_do_not_share_a_block() {
    let blocks = || (1..=3).flat_map(|ipv4| (1..=3).map(move |ipv6| pair(ipv4, ipv6)));
    let pairs = || std::iter::once(None).chain(blocks().map(Some));
    for (first, second) in pairs().flat_map(|first| pairs().map(move |second| (first, second))) {
        let memory = both();
        let keys = join_at_once(&memory, &[first, second, None]).await;
        assert_apart(&keys);
        assert_eq!(leases(&memory).await.len(), 3, "no other key is left");
        if let Some(first) = first {
            assert_eq!(keys[0], first, "the first finds what it had");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn new_hosts_have_one_number_in_both_families() {
    for key in join_at_once(&both(), &[None, None, None]).await {
        assert!((1..=3).any(|n| key == pair(n, n)), "{key}");
    }
}

/// It died when it had written its key and had not looked yet.
#[tokio::test(start_paused = true)]
async fn half_of_a_key_that_was_another_hosts_before_is_given_up_at_the_start() {
    let memory = both();
    let claim = async |n: u8, key: Key| {
        let Wish { value, ttl, .. } = wish(&memory, n).await;
        let over = twill_core::pick::Over::Nothing;
        let bid =
            twill_store::Bid { key, value, over, beside: None, config: None, ttl, record: None };
        memory.claim(&bid).await.expect("the twin answers");
    };
    claim(1, pair(1, 1)).await;
    claim(2, pair(2, 1)).await;
    let (_, second) = join(&memory, wish(&memory, 2).await).await;
    assert_ne!(second.expect("there is room").held.lease.key.ipv6, pair(1, 1).ipv6);
    let (_, first) = join(&memory, wish(&memory, 1).await).await;
    assert_eq!(first.expect("its own").held.lease.key, pair(1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_host_keeps_its_ipv4_block_when_its_network_gets_ipv6_and_when_it_loses_it() {
    let memory = network();
    let (_, only) = join(&memory, wish(&memory, 1).await).await;
    let only = only.expect("a subnet").held.lease.key;
    memory.put_raw(CONFIG_KEY, BOTH);
    let (_, both) = join(&memory, wish(&memory, 1).await).await;
    let both = both.expect("a pair").held.lease.key;
    assert_eq!(both.subnet, only.subnet);
    assert!(both.ipv6.is_some());
    memory.put_raw(CONFIG_KEY, CONFIG);
    let host = Host::start(&memory, wish(&memory, 1).await).await;
    assert_eq!(host.first.lease.key, only);
    pass(MOMENT).await;
    let left: Vec<Key> = leases(&memory).await.iter().map(|lease| lease.key).collect();
    assert_eq!(left, [only], "the pair is withdrawn");
}

/// What it had by flannel, or by an administrator's word, is no other host's.
#[tokio::test(start_paused = true)]
async fn a_host_that_had_flannel_or_a_reservation_keeps_that_block_and_gets_ipv6() {
    for (lease_id, left) in [(Some("its own, and withdrawn"), 1), (None, 2)] {
        let memory = both();
        let value = LeaseValue { node: None, ..wish(&memory, 1).await.value };
        let key = Key { ipv6: None, ..pair(2, 2) };
        if lease_id.is_some() {
            let (over, ttl) = (twill_core::pick::Over::Nothing, DEFAULT_TTL);
            let bid = twill_store::Bid {
                key,
                value,
                over,
                beside: None,
                config: None,
                ttl,
                record: None,
            };
            memory.claim(&bid).await.expect("the twin answers");
        } else {
            let path = format!("/coreos.com/network/subnets/{key}");
            memory.put_raw(&path, value.to_json().as_bytes());
        }
        let host = Host::start(&memory, wish(&memory, 1).await).await;
        assert_eq!(host.first.lease.key, pair(2, 2));
        pass(MOMENT).await;
        assert_eq!(leases(&memory).await.len(), left, "{lease_id:?}");
    }
}
