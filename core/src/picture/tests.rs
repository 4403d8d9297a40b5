use proptest::prelude::*;

use super::*;
use crate::golden;
use crate::ids::{BootId, LeaseId, Mac, Underlay, Vni};
use crate::lease::{Key, LeaseBackend, LeaseValue, Vtep};

const PREFIX: &str = "/coreos.com/network";

fn node(n: u8) -> NodeId {
    NodeId::from_random([n; 16])
}

fn lease(n: u8) -> Lease {
    let mac = Mac([2, 0, 0, 0, 0, n]);
    let value = LeaseValue {
        public_ip: Underlay([192, 0, 2, n].into()),
        ipv6: None,
        backend: LeaseBackend::Vxlan(Vtep { vni: Vni::new(1), mac }),
        node: (n != 3).then_some(node(n)),
    };
    let key: Key = format!("10.88.{n}.0-24").parse().expect("a key");
    Lease {
        key,
        value,
        revision: Revision(n.into()),
        lease_id: (n != 2).then_some(LeaseId(0x694d)),
    }
}

fn stamp() -> Stamp {
    Stamp {
        boot: BootId::from_bytes([7; 16]),
        since_boot: Duration::from_millis(1_234_567),
        wall: 1_764_000_000,
        wall_is_sure: true,
    }
}

fn picture() -> Picture {
    let config = br#"{"Network":"10.88.0.0/16","Backend":{"Type":"vxlan"}}"#;
    let hours = Duration::from_hours;
    Picture {
        prefix: PREFIX.to_owned(),
        node: node(1),
        config: NetworkConfig::parse(config).expect("a network"),
        written: Revision(4),
        own: lease(1),
        life: Life { ttl: hours(24), left: hours(23) },
        listing: Listing {
            leases: vec![lease(1), lease(2), lease(3)],
            malformed: Vec::new(),
            revision: Revision(9),
        },
        kept: stamp(),
    }
}

#[test]
fn the_format_stays_readable() {
    golden::check("picture", &picture().render());
    let text = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/goldens/picture"));
    assert_eq!(Picture::parse(&text.expect("the golden")), Ok(picture()));
}

#[test]
fn a_reservation_is_believed_in_for_its_time_as_a_lease_is() {
    let own = Lease { lease_id: None, ..lease(1) };
    let reserved = Picture { own, ..picture() };
    assert_eq!(Picture::parse(reserved.render().as_bytes()), Ok(reserved.clone()));
    let other_boot = Stamp { boot: BootId::from_bytes([8; 16]), wall_is_sure: false, ..stamp() };
    let much_later = Stamp { since_boot: Duration::from_hours(24), ..other_boot };
    for either in [reserved, picture()] {
        assert_eq!(either.validity(&stamp()), Validity::Left(Duration::from_hours(23)));
        assert!(matches!(either.validity(&other_boot), Validity::Unknown(_)));
        assert!(matches!(either.validity(&much_later), Validity::Over(_)));
        assert!(either.age(&other_boot).is_err(), "nobody knows");
    }
}

#[test]
fn a_file_that_is_not_used_says_why() {
    let whole = picture().render();
    let (header, body) = whole.split_once('\n').expect("two lines");
    let changed = |from: &str, to: &str| {
        assert!(body.contains(from), "{from}");
        let body = body.trim_end().replacen(from, to, 1);
        String::from_utf8(Picture::sealed(body.as_bytes())).expect("text")
    };
    for (name, text, words) in [
        ("an empty file", String::new(), "does not begin with"),
        ("another file", "FLANNEL_NETWORK=10.88.0.0/16\n".to_owned(), "does not begin with"),
        ("a name that goes on", whole.replacen(' ', "s ", 1), "does not begin with"),
        ("a later version", whole.replacen(" 1 ", " 2 ", 1), "of version 2, and this program"),
        ("a name alone", NAME.to_owned() + " ", "torn"),
        ("a header alone", header.to_owned(), "torn"),
        ("half of it", whole[..whole.len() / 2].to_owned(), "torn"),
        ("more after it", whole.clone() + "\n", "torn"),
        ("an edited one", whole.replacen("10.88.1.0", "10.88.4.0", 1), "checksum does not match"),
        ("no JSON", changed("{", ""), "makes no sense"),
        ("a member less", changed("\"node\"", "\"mode\""), "missing field `node`"),
        (
            "a broken network",
            changed("10.88.0.0/16", "10.88.0.1/33"),
            "the network's configuration",
        ),
        ("a broken lease of its own", changed("10.88.1.0-24", "10.88.1.0"), "our lease 10.88.1.0:"),
        ("another's lease", changed("TwillNodeID", "TwillXodeID"), "is not of host 01010101"),
        ("a subnet elsewhere", changed("10.88.1.0-24", "10.99.1.0-24"), "is not part of"),
        ("a subnet too wide", changed("10.88.1.0-24", "10.0.0.0-8"), "is not part of"),
        ("no life", changed("\"life\"", "\"love\""), "missing field `life`"),
        ("a life too long", changed("\"ttl_ms\":86400000", "\"ttl_ms\":1"), "would live longer"),
        ("a broken stamp", changed("07070707-", "0707070-"), "not a boot id"),
    ] {
        let error = Picture::parse(text.as_bytes()).expect_err(name).to_string();
        assert!(error.contains(words), "{name}: {error}");
    }
}

#[test]
fn one_peer_that_cannot_be_read_is_left_out_alone() {
    let whole = picture();
    let text = wire::write(&whole).replacen("10.88.3.0-24", "10.88.3.0/24", 1);
    let read = wire::read(text.as_bytes()).expect("the rest");
    assert_eq!(read.listing.leases, [lease(1), lease(2)]);
    assert_eq!(read.listing.malformed[0].key, "10.88.3.0/24");
}

#[test]
fn another_hosts_and_another_networks_are_told_apart() {
    let ours = picture();
    assert_eq!(ours.is_of(PREFIX, node(1)), Ok(()));
    assert_eq!(ours.is_of("/coreos.com/network/", node(1)), Ok(()));
    let refused = |prefix, node| ours.is_of(prefix, node).expect_err("refused").to_string();
    assert_eq!(refused("/other", node(1)), "it is of the network under /coreos.com/network");
    assert!(refused(PREFIX, node(2)).contains("host 01010101"), "{}", refused(PREFIX, node(2)));
}

#[test]
fn etcd_knows_better_when_the_own_lease_is_gone_or_anothers() {
    let ours = picture();
    let agrees = |leases: &[Lease]| {
        ours.agrees_with(&Listing { leases: leases.to_vec(), ..Listing::default() })
    };
    let moved = LeaseValue { public_ip: Underlay([192, 0, 2, 77].into()), ..lease(1).value };
    let newer = Lease { revision: Revision(99), value: moved, ..lease(1) };
    let taken = Lease { value: lease(2).value, ..lease(1) };
    assert!(agrees(&[lease(1), lease(2)]));
    assert!(agrees(&[newer]), "whatever it says of this host");
    assert!(!agrees(&[lease(2)]), "gone");
    assert!(!agrees(&[taken]), "another's");
}

#[test]
fn every_end_of_the_file_is_noticed() {
    let whole = picture().render();
    for end in 0..whole.len() {
        assert!(Picture::parse(&whole.as_bytes()[..end]).is_err(), "cut after {end} bytes");
    }
}

#[test]
fn every_bit_is_noticed() {
    let mut file = picture().render().into_bytes();
    for bit in 0..file.len() * 8 {
        file[bit / 8] ^= 1 << (bit % 8);
        assert!(Picture::parse(&file).is_err(), "bit {bit} turned over");
        file[bit / 8] ^= 1 << (bit % 8);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        prop_assert!(Picture::parse(&bytes).is_err());
    }

    /// Behind a checksum that is right.
    #[test]
    fn no_content_makes_it_panic(body in "\\PC{0,60}", place: prop::sample::Index) {
        let whole = wire::write(&picture());
        let (before, after) = whole.split_at(place.index(whole.len()));
        let body = format!("{before}{body}{}", after.get(1..).unwrap_or_default());
        if let Ok(mut picture) = Picture::parse(&Picture::sealed(body.as_bytes())) {
            picture.listing.malformed.clear();
            prop_assert_eq!(Picture::parse(picture.render().as_bytes()), Ok(picture));
        }
    }

    #[test]
    fn reads_what_it_writes(
        peers in prop::collection::vec((any::<u8>(), any::<i64>(), any::<Option<i64>>()), 0..20),
        left in 0_u64..86_400_000,
        stamp in (any::<[u8; 16]>(), any::<u64>(), any::<u64>(), any::<bool>()),
        prefix in "\\PC{0,20}",
    ) {
        let (boot, since_boot, wall, wall_is_sure) = stamp;
        let leases = peers.into_iter().map(|(n, revision, id)| Lease {
            revision: Revision(revision),
            lease_id: id.map(LeaseId),
            ..lease(n)
        });
        let any = Picture {
            prefix,
            life: Life { ttl: Duration::from_hours(24), left: Duration::from_millis(left) },
            listing: Listing { leases: leases.collect(), ..Listing::default() },
            kept: Stamp {
                boot: BootId::from_bytes(boot),
                since_boot: Duration::from_millis(since_boot),
                wall,
                wall_is_sure,
            },
            ..picture()
        };
        prop_assert_eq!(Picture::parse(any.render().as_bytes()), Ok(any));
    }
}
