//! The file on a real disk: what is used, what is refused, and how often it is written.

use crate::ownership::Belief;
use std::time::Instant;

use tokio::sync::watch;
use twill_core::config::NetworkConfig;
use twill_core::ids::{BootId, LeaseId, Revision, Underlay};
use twill_core::lease::{Event, Lease, LeaseBackend, LeaseValue, Listing};
use twill_core::ownership::RELEASED;
use twill_core::peers::Known;
use twill_core::picture::Life;

use super::*;
use crate::status::Board;

const PREFIX: &str = "/coreos.com/network";
const DAY: Duration = Duration::from_hours(24);

fn node() -> NodeId {
    NodeId::from_random([1; 16])
}

fn lease(n: u16) -> Lease {
    let [high, low] = n.to_be_bytes();
    let value = LeaseValue {
        public_ip: Underlay([192, 0, high, low].into()),
        ipv6: None,
        backend: LeaseBackend::Unnamed,
        node: (n == 1).then(node),
    };
    let subnet = format!("10.{high}.{low}.0-24");
    Lease { key: subnet.parse().unwrap(), value, revision: Revision(7), lease_id: Some(LeaseId(1)) }
}

fn config() -> NetworkConfig {
    NetworkConfig::parse(br#"{"Network":"10.0.0.0/8","SubnetLen":24}"#).unwrap()
}

fn picture() -> Picture {
    Picture {
        prefix: PREFIX.to_owned(),
        node: node(),
        config: config(),
        written: Revision(1),
        own: lease(1),
        life: Life { ttl: DAY, left: DAY },
        listing: Listing { leases: vec![lease(1), lease(2)], ..Listing::default() },
        kept: clock::stamp().unwrap(),
    }
}

fn whose() -> Whose<'static> {
    Whose { prefix: PREFIX, node: node(), anchored: true }
}

fn kept(text: &[u8]) -> (tempfile::TempDir, Memory) {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join(FILE), text).unwrap();
    let memory = Memory::new(root.path());
    (root, memory)
}

#[test]
fn a_host_recalls_what_it_kept() {
    let root = tempfile::tempdir().unwrap();
    let memory = Memory::new(root.path());
    assert!(memory.recall(whose()).is_none(), "nothing was kept");
    let picture = picture();
    memory.write(&picture, 0).unwrap();
    let recalled = memory.recall(whose()).unwrap();
    assert_eq!(recalled.listing, picture.listing);
    let Recalled { held, .. } = usable(&recalled).unwrap();
    assert_eq!(held.lease, lease(1));
    assert!(held.ttl.unwrap() > DAY.saturating_sub(Duration::from_mins(1)), "{held:?}");
    memory.forget_all_but(lease(1).key);
    assert!(memory.recall(whose()).is_some());
    memory.forget_all_but(lease(2).key);
    assert!(memory.recall(whose()).is_none());
    memory.write(&picture, 0).unwrap();
    assert!(memory.recall(whose()).is_none(), "a late write does not bring it back");
    memory.write(&picture, memory.forgotten()).unwrap();
    assert!(memory.recall(whose()).is_some(), "another session's does");
}

#[test]
fn what_is_damaged_is_refused_and_put_aside() {
    let whole = picture().render();
    for (name, text) in [
        ("torn", &whole[..whole.len() - 9]),
        ("empty", ""),
        ("foreign", "A=1\n"),
        ("of a later version", &whole.replacen(" 1 ", " 2 ", 1)),
        ("changed", &whole.replacen("10.0.1.0", "10.0.3.0", 1)),
    ] {
        let (root, memory) = kept(text.as_bytes());
        assert!(memory.recall(whose()).is_none(), "{name}");
        assert_eq!(fs::read_to_string(root.path().join(REFUSED)).unwrap(), text, "{name}");
        assert!(memory.recall(whose()).is_none(), "{name}, and the second time");
        memory.write(&picture(), 0).unwrap();
        assert!(memory.recall(whose()).is_some(), "{name}, and a new one takes its place");
    }
}

#[test]
fn what_is_anothers_stays_where_it_is() {
    let (root, memory) = kept(picture().render().as_bytes());
    for (name, whose) in [
        ("another network", Whose { prefix: "/other", ..whose() }),
        ("another host", Whose { node: NodeId::from_random([2; 16]), ..whose() }),
        ("another machine", Whose { anchored: false, ..whose() }),
    ] {
        assert!(memory.recall(whose).is_none(), "{name}");
        assert!(root.path().join(FILE).exists(), "{name}");
    }
    assert!(memory.recall(whose()).is_some());
}

#[test]
fn what_cannot_be_read_is_no_reason_to_die() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join(FILE)).unwrap();
    let memory = Memory::new(root.path());
    assert!(memory.recall(whose()).is_none(), "a directory in its place");
    assert!(memory.write(&picture(), 0).is_err());
    memory.forget();
    let huge = fs::File::create(root.path().join("huge")).unwrap();
    huge.set_len(LARGEST + 1).unwrap();
    assert!(read(&root.path().join("huge")).is_err(), "and nothing is read that cannot be one");
}

#[test]
fn a_lease_that_may_have_ended_says_so() {
    let picture = picture();
    let now = picture.kept;
    let later = |hours| Stamp { since_boot: now.since_boot + Duration::from_hours(hours), ..now };
    assert_eq!(usable_at(&picture, &later(10)).unwrap().age, "10h00m");
    let over = usable_at(&picture, &later(24)).unwrap_err();
    assert!(over.contains("10.0.1.0/24") && over.contains("may have run out"), "{over}");
    let boot = BootId::from_bytes([9; 16]);
    let dark = Stamp { boot, wall_is_sure: false, since_boot: Duration::from_mins(1), ..now };
    let unknown = usable_at(&picture, &dark).unwrap_err();
    assert!(unknown.contains("nothing vouches for this host's clock"), "{unknown}");
}

struct Running {
    root: tempfile::TempDir,
    memory: Memory,
    known: watch::Sender<Known>,
    held: watch::Sender<Option<Belief>>,
    keep: Keep,
    board: Board,
}

fn believed(held: &Held) -> Belief {
    Belief::new((held, tokio::time::Instant::now()), DAY)
}

fn running() -> Running {
    let root = tempfile::tempdir().unwrap();
    let memory = Memory::new(root.path());
    let held = Held { lease: lease(1), ttl: Some(DAY), presence: None };
    let known = watch::Sender::default();
    let held = watch::Sender::new(Some(believed(&held)));
    let place =
        Place { prefix: PREFIX.to_owned(), node: node(), config: config(), written: Revision(1) };
    let sources = (known.subscribe(), held.subscribe());
    let board = Board::default();
    let keep = Keep::new(&memory, place, sources).on(board.clone());
    Running { root, memory, known, held, keep, board }
}

#[tokio::test]
async fn a_thousand_hosts_at_once_are_a_few_writes() {
    let Running { root, memory, known, held: _held, mut keep, .. } = running();
    let keeping = tokio::spawn(async move { keep.run().await });
    let file = root.path().join(FILE);
    let (mut writes, mut last) = (0, None);
    for n in 1..=1000 {
        known.send_modify(|known| known.fold(Event::Put(lease(n))));
        tokio::time::sleep(Duration::from_millis(1)).await;
        let now = fs::metadata(&file).and_then(|meta| meta.modified()).ok();
        writes += u32::from(now != std::mem::replace(&mut last, now));
    }
    let all = || memory.recall(whose()).is_some_and(|kept| kept.listing.leases.len() == 1000);
    let begun = Instant::now();
    while !all() {
        assert!(begun.elapsed() < Duration::from_secs(10), "the last one is missing");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!((1..=5).contains(&writes), "{writes} writes");
    keeping.abort();
}

#[tokio::test]
async fn a_full_disk_is_told_and_survived() {
    let Running { root, memory, known: _known, held: _held, mut keep, board } = running();
    // Whoever is root may write everywhere, but not in place of a directory.
    fs::create_dir(root.path().join(FILE)).unwrap();
    keep.last().await;
    assert!(board.picture_error().unwrap().contains("cannot write"), "{:?}", board.picture_error());
    fs::remove_dir(root.path().join(FILE)).unwrap();
    keep.last().await;
    assert_eq!(board.picture_error(), None);
    assert!(memory.recall(whose()).is_some());
}

#[tokio::test]
async fn a_lease_that_nobody_knows_the_end_of_is_not_kept() {
    let Running { memory, held, mut keep, known: _known, .. } = running();
    let none = Held { lease: lease(1), ttl: None, presence: None };
    held.send_replace(Some(believed(&none)));
    keep.last().await;
    assert!(memory.recall(whose()).is_none());
}

/// It does not end, but may be released while this host is cut off.
#[tokio::test(start_paused = true)]
async fn a_reservation_is_believed_in_for_as_long_as_its_release_would_leave_it() {
    let Running { memory, held, mut keep, known: _known, .. } = running();
    let reserved = Held { lease: Lease { lease_id: None, ..lease(1) }, ttl: None, presence: None };
    // A minute ago, by a host whose own leases would end sooner.
    let seen = tokio::time::Instant::now();
    held.send_replace(Some(Belief::new((&reserved, seen), Duration::from_secs(30))));
    tokio::time::advance(Duration::from_mins(1)).await;
    keep.last().await;
    let picture = memory.recall(whose()).unwrap();
    assert_eq!(picture.life.ttl, RELEASED);
    assert!(picture.life.left <= Duration::from_mins(24 * 60 - 1), "{:?}", picture.life);
    assert!(picture.life.left > Duration::from_mins(24 * 60 - 2), "{:?}", picture.life);
    let now = picture.kept;
    let later = |time| Stamp { since_boot: now.since_boot + time, ..now };
    let Recalled { held, .. } = usable_at(&picture, &later(Duration::from_hours(23))).unwrap();
    assert!(held.ttl.unwrap() < Duration::from_hours(1), "{held:?}");
    let over = usable_at(&picture, &later(RELEASED)).unwrap_err();
    assert!(over.contains("may have run out"), "{over}");
    // A restart of the agent makes it no longer.
    let again = Belief::new((&held, tokio::time::Instant::now()), DAY);
    assert_eq!(Some(again.ttl), held.ttl);
}

/// Prints what a picture of ten thousand hosts costs.
#[test]
fn ten_thousand_hosts_fit() {
    let root = tempfile::tempdir().unwrap();
    let memory = Memory::new(root.path());
    let leases: Vec<Lease> = (1..=10_000).map(lease).collect();
    let picture = Picture { listing: Listing { leases, ..Listing::default() }, ..picture() };
    let begun = Instant::now();
    memory.write(&picture, 0).unwrap();
    let written = begun.elapsed();
    let size = fs::metadata(root.path().join(FILE)).unwrap().len();
    let begun = Instant::now();
    let read = memory.recall(whose()).unwrap();
    println!("{size} bytes, written in {written:?}, read in {:?}", begun.elapsed());
    assert_eq!(read.listing.leases.len(), 10_000);
    assert!(size < LARGEST / 10);
}
