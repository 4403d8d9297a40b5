use std::net::Ipv4Addr;

use super::*;
use crate::config::Draft;
use crate::lease::{Key, LeaseBackend, LeaseValue, Malformed};

const ME: u8 = 1;
const OTHER: u8 = 2;
const STRANGER: u8 = 9;

/// Who has a lease, and how it says so.
#[derive(Clone, Copy)]
enum By {
    /// A Twill of that host.
    Twill(u8),
    /// A flanneld of that host.
    Flannel(u8),
    /// An administrator, for that host: the lease has no end.
    Admin(u8),
}

#[test]
fn chooses_in_order() {
    use By::*;
    let row = |name: &str, leases: &[(u8, By)], previous: Option<u8>, wanted: (u8, Reason)| {
        let listing = listing(leases);
        let config = config("10.5.0.0/16");
        let previous = previous.map(|n| subnet(n).into());
        let choice = pick(&Situation { previous, ..situation(&config, &listing) }, 0).expect(name);
        assert_eq!((choice.key.subnet, choice.reason), (subnet(wanted.0), wanted.1), "{name}");
        assert_eq!(choice.withdraw, [], "{name}");
        let now = listing.leases.iter().find(|lease| lease.subnet() == choice.key.subnet);
        let over = now.map_or(Over::Nothing, |lease| match lease.lease_id {
            Some(id) => Over::Lease(lease.revision, id),
            None => Over::Reservation(lease.revision),
        });
        assert_eq!(choice.over, over, "{name}");
    };
    row("an empty network: not the first subnet", &[], None, (1, Reason::Free));
    row("beside others", &[(1, Twill(OTHER)), (2, Flannel(OTHER))], None, (3, Reason::Free));
    row("our own lease", &[(7, Twill(ME))], None, (7, Reason::Own));
    row("our own lease, whatever we remember", &[(7, Twill(ME))], Some(8), (7, Reason::Own));
    row("flannel's lease of this host", &[(7, Flannel(ME))], None, (7, Reason::SameAddress));
    row("a reservation for this host", &[(7, Admin(ME))], None, (7, Reason::SameAddress));
    row("reservations are not free", &[(1, Admin(OTHER))], None, (2, Reason::Free));
    row("what we had before, if it is free", &[(1, Twill(OTHER))], Some(8), (8, Reason::Previous));
    row("what we had before, and lost", &[(8, Twill(OTHER))], Some(8), (1, Reason::Free));
}

#[test]
fn leaves_the_lease_of_another_twill_with_our_address_alone() {
    let mut listing = listing(&[(7, By::Twill(OTHER))]);
    listing.leases[0].value.public_ip = ip(ME);
    let choice = pick(&situation(&config("10.5.0.0/16"), &listing), 0).expect("there is room");
    assert_eq!((choice.key.subnet, choice.over), (subnet(1), Over::Nothing));
    assert_eq!(choice.withdraw, []);
}

#[test]
fn withdraws_what_no_longer_fits() {
    let listing = listing(&[(3, By::Twill(ME)), (4, By::Admin(ME)), (5, By::Flannel(ME))]);
    let mut config = config("10.5.0.0/16");
    let choice = pick(&situation(&config, &listing), 0).expect("ours");
    assert_eq!((choice.key.subnet, choice.reason), (subnet(3), Reason::Own));
    assert_eq!(choice.withdraw, [listing.leases[2].clone()], "a reservation is not ours to delete");
    config.subnet_min = subnet(6);
    let choice = pick(&situation(&config, &listing), 0).expect("there is room");
    assert_eq!((choice.key.subnet, choice.reason), (subnet(6), Reason::Free));
    assert_eq!(choice.withdraw, [listing.leases[0].clone(), listing.leases[2].clone()]);
}

#[test]
fn of_a_lease_with_ipv6_a_network_of_ipv4_leaves_the_one_half() {
    let mut listing = listing(&[(7, By::Flannel(ME))]);
    listing.leases[0].key = "10.5.7.0-24&fd00::-64".parse().expect("a key");
    let choice = pick(&situation(&config("10.5.0.0/16"), &listing), 0).expect("there is room");
    assert_eq!((choice.key, choice.over), (subnet(7).into(), Over::Nothing));
    assert_eq!(choice.withdraw, listing.leases);
}

#[test]
fn the_newest_of_our_own_is_taken() {
    let mut listing = listing(&[(3, By::Twill(ME)), (4, By::Twill(ME))]);
    listing.leases[1].revision = Revision(1000);
    let choice = pick(&situation(&config("10.5.0.0/16"), &listing), 0).expect("ours");
    assert_eq!(choice.key.subnet, subnet(4));
    assert_eq!(choice.withdraw, [listing.leases[0].clone()]);
}

#[test]
fn a_key_with_an_unreadable_value_is_taken() {
    let spoilt = Malformed {
        key: "10.5.1.0-24".to_owned(),
        lease: Some(Key::from(subnet(1))),
        why: "spoilt".to_owned(),
        revision: Revision(3),
    };
    let listing = Listing { malformed: vec![spoilt], ..Listing::default() };
    let config = config("10.5.0.0/16");
    let situation = Situation { previous: Some(subnet(1).into()), ..situation(&config, &listing) };
    assert_eq!(pick(&situation, 0).expect("there is room").key.subnet, subnet(2));
}

#[test]
fn chooses_among_the_first_hundred_free() {
    let config = config("10.5.0.0/16");
    let listing = listing(&[(5, By::Twill(OTHER))]);
    let at = |random| pick(&situation(&config, &listing), random).expect("room").key.subnet;
    assert_eq!((at(0), at(3), at(4)), (subnet(1), subnet(4), subnet(6)), "5 is taken");
    assert_eq!((at(99), at(100), at(u64::MAX)), (subnet(101), subnet(1), at(u64::MAX % 100)));
}

#[test]
fn blocks_of_any_length_are_in_the_way() {
    let config = config("10.5.0.0/16");
    let mut listing = listing(&[]);
    for (n, key) in [(1, "10.5.0.0-17"), (2, "10.5.128.64-26"), (3, "10.5.130.0-23")] {
        let key = key.parse().expect("a key");
        listing.leases.push(Lease { key, ..lease(n, By::Flannel(STRANGER)) });
    }
    let at = |random| pick(&situation(&config, &listing), random).expect("room").key.subnet;
    assert_eq!((at(0), at(1)), (subnet(129), subnet(132)));
}

#[test]
fn local_routes_rule_new_subnets_out_and_never_old_ones() {
    let config = config("10.5.0.0/16");
    let routes =
        ["0.0.0.0/0", "10.5.0.0/18", "192.168.0.0/16"].map(|text| text.parse().expect(text));
    let empty = listing(&[]);
    let local = Situation { local_routes: &routes, ..situation(&config, &empty) };
    assert_eq!(pick(&local, 0).expect("room").key.subnet, subnet(64));
    let previous = Situation { previous: Some(subnet(3).into()), ..local };
    assert_eq!(pick(&previous, 0).expect("it was ours").key.subnet, subnet(3), "its bridge stands");
    let own = listing(&[(4, By::Twill(ME))]);
    let own = Situation { listing: &own, ..local };
    assert_eq!(pick(&own, 0).expect("it is ours").key.subnet, subnet(4));
}

#[test]
fn says_so_when_there_is_none() {
    let config = config("10.5.1.0/26");
    let keys = ["10.5.1.16-28", "10.5.1.32-28", "10.5.1.48-28"];
    let leases = keys
        .map(|key| Lease { key: key.parse().expect("a key"), ..lease(1, By::Flannel(STRANGER)) });
    let full = Listing { leases: leases.to_vec(), ..Listing::default() };
    let error = pick(&situation(&config, &full), 5).expect_err("full");
    assert_eq!(
        error.to_string(),
        "no subnet is free between 10.5.1.16/28 and 10.5.1.48/28: all 3 are taken"
    );
    assert!(error.hint().contains("twillctl lease list"));
    let routes = ["10.5.0.0/16".parse().expect("a route")];
    let empty = Listing::default();
    let covered = Situation { local_routes: &routes, ..situation(&config, &empty) };
    let error = pick(&covered, 5).expect_err("covered");
    assert_eq!(
        error.to_string(),
        "no subnet can be used between 10.5.1.16/28 and 10.5.1.48/28: this host has a route to \
         10.5.0.0/16"
    );
    assert!(error.hint().contains("ip route"));
}

#[test]
fn ends_at_the_end_of_all_addresses() {
    let config = config("255.255.255.0/26");
    let empty = Listing::default();
    let at =
        |random| pick(&situation(&config, &empty), random).expect("room").key.subnet.to_string();
    assert_eq!((at(2), at(3)), ("255.255.255.48/28".to_owned(), "255.255.255.16/28".to_owned()));
}

fn dual() -> NetworkConfig {
    let text = r#"{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/48",
        "Backend":{"Type":"vxlan"}}"#;
    NetworkConfig::parse(text.as_bytes()).expect(text)
}

fn pair(ipv4: u8, ipv6: u8) -> Key {
    Key { ipv6: format!("fd00:5:0:{ipv6:x}::/64").parse().ok(), ..subnet(ipv4).into() }
}

#[test]
fn with_both_families_a_host_gets_one_of_each() {
    let config = dual();
    let row = |name: &str, leases: &[(Key, By)], previous: Option<Key>, wanted: (Key, Reason)| {
        let leases = (0..).zip(leases);
        let leases = leases.map(|(n, (key, by))| Lease { key: *key, ..lease(n, *by) });
        let listing = Listing { leases: leases.collect(), ..Listing::default() };
        let choice = pick(&Situation { previous, ..situation(&config, &listing) }, 0).expect(name);
        assert_eq!((choice.key, choice.reason), wanted, "{name}");
        let own = listing.leases.iter().filter(|lease| lease.value.node == Some(node(ME)));
        let gone: Vec<_> = own.filter(|lease| lease.key != choice.key).cloned().collect();
        assert_eq!(choice.withdraw, gone, "{name}");
    };
    let (ours, theirs) = (By::Twill(ME), By::Flannel(OTHER));
    row("an empty network", &[], None, (pair(1, 1), Reason::Free));
    row("one number for both", &[(pair(1, 2), theirs)], None, (pair(3, 3), Reason::Free));
    row("what it has", &[(pair(7, 9), ours)], None, (pair(7, 9), Reason::Own));
    row("what it had", &[], Some(pair(7, 9)), (pair(7, 9), Reason::Previous));
    let ipv4 = (subnet(7).into(), ours);
    row("IPv6 besides", &[ipv4], None, (pair(7, 7), Reason::Previous));
    row("of another number", &[ipv4, (pair(8, 7), theirs)], None, (pair(7, 1), Reason::Previous));
    let had = Some(pair(7, 9));
    row("half of what it had", &[(pair(8, 9), theirs)], had, (pair(7, 7), Reason::Previous));
    row("the other half", &[(pair(7, 8), theirs)], had, (pair(9, 9), Reason::Free));
    row(
        "what a spoilt start left",
        &[(pair(8, 9), theirs), (pair(7, 9), ours)],
        None,
        (pair(7, 7), Reason::Previous),
    );
}

#[test]
fn pairs_are_found_while_there_is_a_block_of_each() {
    let text = r#"{"Network":"10.5.0.0/22","EnableIPv6":true,"IPv6Network":"fd00:5::/62",
        "Backend":{"Type":"vxlan"}}"#;
    let config = NetworkConfig::parse(text.as_bytes()).expect(text);
    let mut listing = Listing::default();
    for key in [pair(1, 2), pair(2, 3)] {
        listing.leases.push(Lease { key, ..lease(9, By::Flannel(OTHER)) });
    }
    for random in 0..9 {
        assert_eq!(pick(&situation(&config, &listing), random).expect("room").key, pair(3, 1));
    }
    listing.leases.push(Lease { key: pair(9, 1), ..lease(9, By::Flannel(OTHER)) });
    let error = pick(&situation(&config, &listing), 0).expect_err("no IPv6").to_string();
    let words = "no subnet is free between fd00:5:0:1::/64 and fd00:5:0:3::/64: all 3 are taken";
    assert_eq!(error, words);
}

proptest::proptest! {
    /// The dull second version: look at every subnet one by one.
    #[test]
    fn free_ones_are_those_that_overlap_nothing(
        blocks in proptest::collection::vec((0_u32..1 << 16, 16_u8..=32), 0..12),
        random: u64,
    ) {
        let config = config("10.5.0.0/20");
        let blocks: Vec<Subnet> = blocks
            .into_iter()
            .filter_map(|(low, len)| Subnet::containing(Ipv4Addr::from(0x0a05_0000 | low).into(), len))
            .collect();
        let free: Vec<Subnet> = (1..16)
            .filter_map(|n| Subnet::new([10, 5, n, 0].into(), 24))
            .filter(|subnet| !blocks.iter().any(|block| block.overlaps(*subnet)))
            .collect();
        let empty = Listing::default();
        let found = pick(&Situation { local_routes: &blocks, ..situation(&config, &empty) }, random);
        match found {
            Ok(choice) => {
                let index = usize::try_from(random % free.len() as u64).expect("small");
                proptest::prop_assert_eq!(choice.key.subnet, free[index]);
            }
            Err(_none) => proptest::prop_assert!(free.is_empty()),
        }
    }
}

fn situation<'a>(config: &'a NetworkConfig, listing: &'a Listing) -> Situation<'a> {
    Situation {
        config,
        node: node(ME),
        public_ip: ip(ME),
        listing,
        previous: None,
        local_routes: &[],
    }
}

fn config(network: &str) -> NetworkConfig {
    Draft::new(network.parse().expect(network)).build().expect(network)
}

fn listing(leases: &[(u8, By)]) -> Listing {
    let leases = leases.iter().map(|(n, by)| lease(*n, *by)).collect();
    Listing { leases, malformed: Vec::new(), revision: Revision(50) }
}

fn lease(n: u8, by: By) -> Lease {
    let (host, owner, lease_id) = match by {
        By::Twill(host) => (host, Some(node(host)), Some(LeaseId(n.into()))),
        By::Flannel(host) => (host, None, Some(LeaseId(n.into()))),
        By::Admin(host) => (host, None, None),
    };
    let (public_ip, backend) = (ip(host), LeaseBackend::Unnamed);
    Lease {
        key: Key::from(subnet(n)),
        value: LeaseValue { public_ip, ipv6: None, backend, node: owner },
        revision: Revision(10 + i64::from(n)),
        lease_id,
    }
}

fn subnet(n: u8) -> Subnet {
    Subnet::new([10, 5, n, 0].into(), 24).expect("aligned")
}

fn ip(host: u8) -> Underlay {
    Underlay([192, 0, 2, host].into())
}

fn node(host: u8) -> NodeId {
    NodeId::from_random([host; 16])
}
