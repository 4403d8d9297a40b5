use std::collections::BTreeSet;

use super::*;

fn joined() -> Board {
    let board = Board::default();
    take_a_place(&board);
    board
}

fn take_a_place(board: &Board) {
    let subnet = "10.88.1.0/24".parse().unwrap();
    board.joined(Status {
        schema: twill_core::status::SCHEMA,
        version: "0".to_owned(),
        node: twill_core::ids::NodeId::from_random([1; 16]),
        hostname: "node1".to_owned(),
        backend: "udp".to_owned(),
        device: "flannel0".to_owned(),
        mtu: twill_core::ids::Mtu::new(1472).unwrap(),
        network: "10.88.0.0/16".parse().unwrap(),
        subnet,
        public_ip: "192.0.2.1".parse().unwrap(),
        ipv6: None,
        lease_expires: None,
        etcd: EtcdState::Connected,
        standing: twill_core::status::Standing::default(),
        peers: Vec::new(),
        ignored: Vec::new(),
        pending: Vec::new(),
        last_error: None,
        earlier: Vec::new(),
        config_error: None,
        firewall: None,
    });
    board.published();
}

#[test]
fn the_newest_configuration_is_complained_of_and_not_the_one_before() {
    let board = joined();
    let said = || board.status().unwrap().config_error;
    board.configuration_waits("the port is taken".to_owned());
    assert_eq!(said().as_deref(), Some("the port is taken"));
    board.configuration(Some("it was deleted".to_owned()));
    board.configuration_waits("the port is taken".to_owned());
    assert_eq!(said().as_deref(), Some("it was deleted"));
    board.configuration(None);
    assert_eq!(said(), None);
    board.configuration_waits("the port is taken".to_owned());
    assert_eq!(said().as_deref(), Some("the port is taken"));
}

/// A host that is well, with a lease that ends, a peer, and one that it cannot use.
pub(crate) fn everything() -> Board {
    let board = Board::default();
    join(&board);
    board
}

/// The same of a board that is there.
pub(crate) fn join(board: &Board) {
    take_a_place(board);
    board.lease_ends(Some(Duration::from_hours(24)));
    let ignored = Ignored {
        key: "10.88.9.0-24".to_owned(),
        why: "its VNI is 2, ours is 1".to_owned(),
        reason: twill_core::status::Reason::OtherVni,
    };
    board.view(&View { peers: vec![peer(2)], ignored: vec![ignored], ..View::default() });
    board.seen(board.changes());
}

/// So many peers instead.
pub(crate) fn crowd(board: &Board, count: u16) {
    let peers = (0..count).map(peer).collect();
    board.changed();
    board.view(&View { peers, ..View::default() });
}

fn peer(number: u16) -> peers::Peer {
    let [high, low] = number.to_be_bytes();
    peers::Peer {
        subnet: twill_core::ids::Subnet::new([10, 128 + high, low, 0].into(), 24).unwrap(),
        underlay: twill_core::ids::Underlay([198, 51, high, low].into()),
        mac: None,
        contact: None,
        by: twill_core::serving::Way::Udp(8285),
        twill: true,
    }
}

#[test]
fn old_errors_do_not_outlive_their_session() {
    let board = joined();
    board.firewall(Some("iptables is gone".to_owned()));
    board.pass(Some("a row is missing".to_owned()));
    board.lease(Some("taken".to_owned()));
    assert_eq!(board.unready(), ["taken", "a row is missing", "iptables is gone"]);
    let status = board.status().unwrap();
    board.leaving();
    board.joined(status);
    board.published();
    assert_eq!(board.unready(), [""; 0]);
    assert_eq!(board.status().unwrap().last_error, None);
}

#[test]
fn is_not_converged_before_a_pass_has_seen_the_newest_leases() {
    let board = joined();
    let converged = || board.status().unwrap().pending.is_empty();
    assert!(!converged(), "nobody has looked yet");
    board.seen(board.changes());
    assert!(converged());
    let begun = board.changes();
    board.changed();
    board.seen(begun);
    assert!(!converged(), "that pass had begun before");
    board.seen(board.changes());
    assert!(converged());
}

#[tokio::test(start_paused = true)]
async fn etcds_absence_is_no_unreadiness_until_the_lease_may_have_ended() {
    let board = joined();
    assert_eq!(board.degraded(), [""; 0]);
    assert_eq!(board.headline(), "subnet 10.88.1.0/24 of 10.88.0.0/16, flannel0");
    board.lease_ends(Some(Duration::from_secs(1000)));
    board.etcd(EtcdState::Away);
    tokio::time::advance(Duration::from_secs(500)).await;
    assert_eq!(board.unready(), [""; 0]);
    let told = "etcd is away for 8m20s; the lease is valid for 8m18s more";
    assert_eq!(board.degraded(), [told]);
    assert!(board.headline().starts_with("degraded: etcd is away"), "{}", board.headline());
    let standing = board.status().unwrap().standing;
    assert_eq!((standing.lease_left, standing.degraded), (Some(498), vec![told.to_owned()]));
    tokio::time::advance(Duration::from_millis(498_500)).await;
    assert_eq!(board.unready(), ["the lease may have run out: etcd's clock may be faster"]);
    board.lease_ends(None);
    assert_eq!(board.unready(), [""; 0]);
    assert!(board.degraded()[0].ends_with("the lease is a reservation and does not end"));
    board.picture(Some("no space left".to_owned()));
    board.etcd(EtcdState::Connected);
    let told = "without etcd this host could not start again: no space left";
    assert_eq!(board.degraded(), [told]);
}

#[test]
fn a_picture_is_the_source_until_etcd_answers() {
    let board = joined();
    let mut status = board.status().unwrap();
    status.etcd = EtcdState::Away;
    status.standing.source = Source::Picture;
    status.standing.picture_kept = Some(now() - 65);
    board.joined(status);
    assert!(board.degraded()[1].contains("picture of 1m0"), "{:?}", board.degraded());
    board.etcd(EtcdState::Connected);
    assert_eq!(board.degraded(), [""; 0]);
    assert_eq!(board.status().unwrap().standing.source, Source::Etcd);
}

#[tokio::test(start_paused = true)]
async fn a_lease_ends_by_the_clock_that_nobody_sets() {
    let board = joined();
    board.lease_ends(Some(Duration::from_mins(1)));
    let expires = board.status().unwrap().lease_expires.unwrap();
    assert!((59..=61).contains(&(expires - now())), "{expires}");
    assert_eq!(board.unready(), [""; 0]);
    tokio::time::advance(Duration::from_mins(1)).await;
    assert_eq!(board.unready(), ["the lease ran out"]);
    board.lease_ends(None);
    assert_eq!(board.unready(), [""; 0], "a reservation never ends");
}

#[test]
fn every_member_of_the_document_is_in_the_documentation_and_the_other_way_round() {
    let board = everything();
    let document = serde_json::to_value(board.status().unwrap()).unwrap();
    let members = |value: &serde_json::Value, before: &str| -> BTreeSet<String> {
        value.as_object().unwrap().keys().map(|name| format!("{before}{name}")).collect()
    };
    let mut told = members(&document, "");
    told.extend(members(&document["peers"][0], "peers[]."));
    told.extend(members(&document["ignored"][0], "ignored[]."));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/status.md");
    let page = std::fs::read_to_string(path).unwrap();
    let mut listed = BTreeSet::new();
    for row in page.lines().filter_map(|line| line.strip_prefix("| `")) {
        let mut list = "";
        for name in row.split(" | ").next().unwrap().split(", ") {
            let name = name.trim_matches('`');
            // `peers[].subnet`, `.public_ip`
            if let Some((before, _member)) = name.split_once("[].") {
                list = before;
            }
            listed.insert(
                name.strip_prefix('.')
                    .map_or_else(|| name.to_owned(), |member| format!("{list}[].{member}")),
            );
        }
    }
    assert_eq!(told, listed);
    assert_eq!(document["schema"], 1);
}
