//! Claims against the store's in-memory twin.

use std::collections::BTreeSet;

use twill_core::lease::LeaseValue;
use twill_store::Memory;

use super::*;

pub(crate) const CONFIG: &[u8] = br#"{"Network":"10.5.0.0/22","SubnetLen":24}"#;

pub(crate) fn wish(n: u8) -> Wish {
    Wish {
        config: NetworkConfig::parse(CONFIG).expect("a configuration"),
        written: None,
        node: NodeId::from_random([n; 16]),
        public_ip: Underlay([192, 0, 2, n].into()),
        mac: None,
        previous: None,
        local_routes: Vec::new(),
    }
}

async fn claim(memory: &Memory, wish: &Wish) -> Result<(Choice, Held), ClaimError> {
    let listing = memory.leases().await.expect("the twin answers");
    wish.claim(memory, listing).await.map(|(choice, held, _listing)| (choice, held))
}

/// Three subnets, four hosts, all at once, each with the listing of an empty network.
#[tokio::test(start_paused = true)]
async fn hosts_that_start_together_get_different_subnets() {
    let memory = Memory::default();
    let hosts = [1, 2, 3].map(wish);
    let (a, b, c) = tokio::join!(
        claim(&memory, &hosts[0]),
        claim(&memory, &hosts[1]),
        claim(&memory, &hosts[2])
    );
    let won: BTreeSet<Subnet> = [a, b, c].map(|won| won.expect("a subnet").0.subnet).into();
    assert_eq!(won.len(), 3, "{won:?}");
    let late = claim(&memory, &wish(4)).await;
    assert!(matches!(late, Err(ClaimError::Pick(_))), "the network is full");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_comes_back_gets_its_own_subnet() {
    let memory = Memory::default();
    let (choice, first) = claim(&memory, &wish(1)).await.expect("a subnet");
    assert_eq!(first.ttl, Some(TTL));
    let moved = Wish { public_ip: Underlay([192, 0, 2, 9].into()), ..wish(1) };
    let (again, held) = claim(&memory, &moved).await.expect("a subnet");
    assert_eq!(again.subnet, choice.subnet, "even with another address");
    assert_eq!(held.lease.value.public_ip, moved.public_ip, "which peers are told");
}

#[tokio::test(start_paused = true)]
async fn a_configuration_that_changed_meanwhile_is_told() {
    let memory = Memory::default();
    let written = Some(memory.put_raw("/coreos.com/network/config", CONFIG));
    let wish = Wish { written, ..wish(1) };
    memory.put_raw("/coreos.com/network/config", br#"{"Network":"10.99.0.0/16"}"#);
    assert!(matches!(claim(&memory, &wish).await, Err(ClaimError::Outdated)));
    assert_eq!(memory.leases().await.expect("the twin answers").leases, [], "nothing was claimed");
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_store_is_told_apart_from_a_full_network() {
    let memory = Memory::default();
    memory.set_away(true);
    let result = wish(1).claim(&memory, Listing::default()).await;
    assert!(matches!(result, Err(ClaimError::Store(error)) if error.is_unreachable()));
}

#[test]
fn the_value_says_what_the_backend_needs() {
    let LeaseValue { backend, .. } = wish(1).value();
    assert_eq!(backend, LeaseBackend::Unnamed);
    let config = br#"{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","VNI":7}}"#;
    let config = NetworkConfig::parse(config).expect("a configuration");
    let mac = Mac([2, 0, 0, 0, 0, 1]);
    let value = Wish { config, mac: Some(mac), ..wish(1) }.value();
    assert!(matches!(value.backend, LeaseBackend::Vxlan { vni: Some(vni), mac: found }
        if vni.number() == 7 && found == mac));
}
