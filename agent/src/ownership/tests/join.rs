use std::collections::BTreeSet;

use super::*;

/// Three subnets, three hosts, all at once, each with the picture of an empty network.
#[tokio::test(start_paused = true)]
async fn hosts_that_start_together_get_different_subnets() {
    let memory = network();
    let hosts = [wish(&memory, 1).await, wish(&memory, 2).await, wish(&memory, 3).await];
    let [first, second, third] = hosts.map(|wish| join(&memory, wish));
    let ((_, first), (_, second), (_, third)) = tokio::join!(first, second, third);
    let won: BTreeSet<Subnet> =
        [first, second, third].map(|won| won.expect("a subnet").held.lease.subnet()).into();
    assert_eq!(won.len(), 3, "{won:?}");
    let (_tenant, late) = join(&memory, wish(&memory, 4).await).await;
    assert!(matches!(late, Err(JoinError::Pick(_))), "the network is full");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_comes_back_gets_its_own_subnet() {
    let memory = network();
    let (_, first) = join(&memory, wish(&memory, 1).await).await;
    let first = first.expect("a subnet").held;
    assert_eq!(first.ttl, Some(DEFAULT_TTL));
    let begun = now();
    let (_, again) = join(&memory, wish(&memory, 1).await).await;
    assert_eq!(again.expect("a subnet").held.lease.subnet(), first.lease.subnet());
    assert_eq!(begun.elapsed(), Duration::ZERO, "nobody had to be asked");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_comes_back_elsewhere_asks_first_and_keeps_its_subnet() {
    let memory = network();
    let (_, first) = join(&memory, wish(&memory, 1).await).await;
    let first = first.expect("a subnet").held;
    let (_, moved) = join(&memory, copy(&memory, (9, 1)).await).await;
    let moved = moved.expect("a subnet").held;
    assert_eq!(moved.lease.subnet(), first.lease.subnet());
    assert_eq!(moved.lease.value.public_ip, ip(9), "which peers are told");
    assert_eq!(leases(&memory).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_copy_on_another_machine_takes_nothing_though_nobody_answers() {
    let memory = network();
    let (_, first) = join(&memory, wish(&memory, 1).await).await;
    let first = first.expect("a subnet").held;
    let copied = Wish { anchored: false, ..copy(&memory, (9, 1)).await };
    let (_, refused) = join(&memory, copied).await;
    assert!(matches!(refused, Err(JoinError::Doubled(Some(at))) if at == ip(1)), "{refused:?}");
    assert_eq!(leases(&memory).await, [first.lease]);
}

#[tokio::test(start_paused = true)]
async fn a_running_host_with_a_new_address_keeps_its_subnet_at_once() {
    let memory = network();
    let (_, first) = join(&memory, wish(&memory, 1).await).await;
    let first = first.expect("a subnet").held;
    let moved = copy(&memory, (9, 1)).await;
    let picture = memory.picture(moved.node).await.expect("the twin answers");
    let begun = now();
    let mut tenant = Tenant::new(memory.clone(), moved);
    let again = tenant.join(Some(first.clone()), picture).await.expect("a subnet").held;
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(again.lease.key, first.lease.key);
    assert_eq!(again.lease.value.public_ip, ip(9));
}

/// It moved twice, and does not know whether etcd heard of the first time.
#[tokio::test(start_paused = true)]
async fn what_a_host_said_at_an_earlier_address_is_no_other_hosts_word() {
    let memory = network();
    let (_, first) = join(&memory, wish(&memory, 1).await).await;
    let first = first.expect("a subnet").held;
    let moved = copy(&memory, (9, 1)).await;
    let picture = memory.picture(moved.node).await.expect("the twin answers");
    let mut tenant = Tenant::new(memory.clone(), moved);
    tenant.join(Some(first.clone()), picture).await.expect("a subnet");
    // The answer to that is lost.
    let again = copy(&memory, (8, 1)).await;
    let picture = memory.picture(again.node).await.expect("the twin answers");
    let mut tenant = Tenant::new(memory.clone(), again.clone());
    let doubled = tenant.join(Some(first.clone()), picture.clone()).await;
    assert!(matches!(doubled, Err(JoinError::Doubled(Some(at))) if at == ip(9)), "{doubled:?}");
    let mut tenant = Tenant::new(memory.clone(), again);
    tenant.was_at(&[ip(9)]);
    let held = tenant.join(Some(first.clone()), picture).await.expect("its own").held;
    assert_eq!((held.lease.key, held.lease.value.public_ip), (first.lease.key, ip(8)));
}

#[tokio::test(start_paused = true)]
async fn a_configuration_that_changed_meanwhile_is_told() {
    let memory = network();
    let old = wish(&memory, 1).await;
    memory.put_raw(CONFIG_KEY, br#"{"Network":"10.99.0.0/16"}"#);
    let (_, outdated) = join(&memory, old).await;
    assert!(matches!(outdated, Err(JoinError::Outdated)), "{outdated:?}");
    assert_eq!(leases(&memory).await, [], "nothing was claimed");
}

/// The configuration is broken, and between the look and the claim the lease goes.
#[tokio::test(start_paused = true)]
async fn a_host_takes_up_its_lease_under_an_earlier_configuration_and_nothing_else() {
    let memory = network();
    let wish = wish(&memory, 1).await;
    let (_, first) = join(&memory, wish.clone()).await;
    let first = first.expect("a subnet").held.lease;
    memory.put_raw(CONFIG_KEY, b"not json");
    let newest = memory.config().await.expect("the twin answers").map(|found| found.revision);
    let basis = Basis::Earlier { newest, own: first.key };
    let picture = memory.picture(wish.node).await.expect("the twin answers");
    let again = || Tenant::new(memory.clone(), wish.clone()).on(basis);
    let held = again().join(None, picture.clone()).await.expect("its own").held;
    assert_eq!(held.lease.key, first.key);
    memory.revoke(&held.lease).await.expect("the twin answers");
    let late = again().join(None, picture).await;
    assert!(matches!(late, Err(JoinError::Outdated)), "{late:?}");
    assert_eq!(leases(&memory).await, [], "nothing was claimed");
}

/// The configuration can be read, but not be followed, as one of a family that the host has no uplink for.
#[tokio::test(start_paused = true)]
async fn a_configuration_of_no_use_to_a_host_takes_its_lease_from_nobody() {
    let memory = network();
    let wish = wish(&memory, 1).await;
    let (_, first) = join(&memory, wish.clone()).await;
    let first = first.expect("a subnet").held.lease;
    memory.put_raw(CONFIG_KEY, br#"{"Network":"10.99.0.0/16"}"#);
    let newest = memory.config().await.expect("the twin answers").map(|found| found.revision);
    let basis = Basis::Earlier { newest, own: first.key };
    let picture = memory.picture(wish.node).await.expect("the twin answers");
    let joined = Tenant::new(memory.clone(), wish).on(basis).join(None, picture).await;
    assert_eq!(joined.expect("its own").held.lease.key, first.key);
    let left: Vec<_> = leases(&memory).await.iter().map(|lease| lease.key).collect();
    assert_eq!(left, [first.key]);
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_store_is_told_apart_from_a_full_network() {
    let memory = network();
    let wish = wish(&memory, 1).await;
    let picture = memory.picture(wish.node).await.expect("the twin answers");
    memory.set_away(true);
    let result = Tenant::new(memory.clone(), wish).join(None, picture).await;
    assert!(matches!(result, Err(JoinError::Store(error)) if error.is_unreachable()));
}

#[tokio::test(start_paused = true)]
async fn a_reservation_for_a_host_goes_before_what_it_chose() {
    let memory = network();
    let (_, first) = join(&memory, wish(&memory, 1).await).await;
    let first = first.expect("a subnet").held;
    let reserved: Subnet = if first.lease.subnet().to_string() == "10.5.3.0/24" {
        "10.5.2.0/24".parse().expect("a subnet")
    } else {
        "10.5.3.0/24".parse().expect("a subnet")
    };
    let key = twill_core::lease::Key::from(reserved);
    let value = LeaseValue { public_ip: ip(0), ..first.lease.value.clone() };
    let value = LeaseValue { public_ip: Underlay([0, 0, 0, 0].into()), ..value };
    let path = format!("/coreos.com/network/subnets/{key}");
    memory.put_raw(&path, value.to_json().as_bytes());
    let mut host = Host::start(&memory, wish(&memory, 1).await).await;
    assert_eq!(host.subnet(), reserved);
    pass(MOMENT).await;
    let left = leases(&memory).await;
    assert_eq!(left.len(), 1, "the earlier lease was revoked: {left:?}");
    assert_eq!((left[0].lease_id, left[0].value.public_ip), (None, ip(1)));
    assert_eq!(host.left().await, None);
}
