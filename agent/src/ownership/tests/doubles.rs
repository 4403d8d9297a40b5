use super::*;

#[tokio::test(start_paused = true)]
async fn a_copy_that_starts_beside_its_original_becomes_another() {
    let memory = network();
    let mut original = Host::start(&memory, wish(&memory, 1).await).await;
    pass(MOMENT).await;
    let begun = now();
    let (_, refused) = join(&memory, copy(&memory, (2, 1)).await).await;
    assert!(matches!(refused, Err(JoinError::Doubled(Some(at))) if at == ip(1)), "{refused:?}");
    assert!(begun.elapsed() < Duration::from_secs(3), "it was answered");
    assert_eq!(leases(&memory).await, [original.first.lease.clone()]);
    assert_eq!(original.left().await, None);
}

/// The original slept while its copy asked.
#[tokio::test(start_paused = true)]
async fn an_original_that_wakes_up_displaced_becomes_another() {
    let memory = network();
    let mut original = Host::start(&memory, wish(&memory, 1).await).await;
    pass(MOMENT).await;
    let theirs = LeaseValue { public_ip: ip(2), ..original.first.lease.value.clone() };
    memory.put_raw(&original.key(), theirs.to_json().as_bytes());
    pass(MOMENT).await;
    assert_eq!(original.left().await, Some(Left::Doubled(Some(ip(2)))));
    assert_eq!(original.now().await.expect("theirs").value, theirs, "left alone");
}

#[tokio::test(start_paused = true)]
async fn of_two_copies_that_start_at_once_one_keeps_the_node_id() {
    let memory = network();
    let first = Host::start(&memory, wish(&memory, 1).await).await;
    let lease = first.first.lease.clone();
    drop(first);
    // Both come from a host that had a third address.
    let (two, three) = (copy(&memory, (2, 1)).await, copy(&memory, (3, 1)).await);
    let outcomes = tokio::join!(Host::try_start(&memory, two), Host::try_start(&memory, three));
    let outcomes = [outcomes.0, outcomes.1];
    let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let doubled = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Err(JoinError::Doubled(Some(_)))))
        .count();
    assert_eq!((won, doubled), (1, 1));
    let left = leases(&memory).await;
    assert_eq!((left.len(), left[0].key), (1, lease.key));
}

/// No lease of theirs was there when they started, so that nothing told one from the other.
#[tokio::test(start_paused = true)]
async fn two_copies_with_a_subnet_each_find_each_other_out() {
    let memory = network();
    let mut first = Host::start(&memory, wish(&memory, 1).await).await;
    pass(MOMENT).await;
    let theirs = LeaseValue { public_ip: ip(2), ..first.first.lease.value.clone() };
    let free =
        if first.subnet().to_string() == "10.5.3.0/24" { "10.5.2.0-24" } else { "10.5.3.0-24" };
    let path = format!("/coreos.com/network/subnets/{free}");
    memory.put_raw(&path, theirs.to_json().as_bytes());
    pass(Duration::from_secs(10)).await;
    assert_eq!(first.left().await, None, "nobody answers for the other");
    assert_eq!(leases(&memory).await.len(), 2, "which is left alone");
}
