use std::time::Duration;

use twill_core::ids::{LeaseId, Revision};
use twill_core::lease::{Event, Lease, LeaseValue, Listing, Malformed};
use twill_core::pick::Over;
use twill_store::{Bid, Claimed, Held, Memory};

use super::line::What;
use super::*;
use crate::golden;

#[test]
fn every_kind_of_line() {
    let moved = FLANNEL.replace(".23", ".29");
    let mut story = Story::default();
    let snapshot = Listing {
        leases: vec![lease(34, (Some(7), 12), TWILL), lease(9, (None, 13), FLANNEL)],
        malformed: vec![spoilt("x\u{1b}y", None, 14)],
        revision: Revision(14),
    };
    let events = [
        Event::Snapshot(snapshot),
        Event::Put(lease(2, (Some(8), 15), FLANNEL)),
        Event::Put(lease(2, (Some(9), 16), FLANNEL)),
        Event::Put(lease(2, (Some(9), 17), &moved)),
        Event::Put(lease(34, (None, 18), TWILL)),
        Event::Malformed(spoilt("10.88.2.0-24", Some("10.88.2.0-24"), 19)),
        Event::Gone("10.88.2.0-24".parse().unwrap(), Revision(20)),
        Event::GoneMalformed("x\u{1b}y".to_owned(), Revision(21)),
    ];
    let (mut text, mut json) = (format!("{}\n", line::HEADER), String::new());
    let time = Timestamp::from_millisecond(1_700_000_000_123).unwrap();
    for line in events.into_iter().flat_map(|event| story.tell(event)) {
        let name = line.node().map(|_id| "node1");
        text = text + &line.text(time, name) + "\n";
        json = json + &line.json(time, name) + "\n";
    }
    golden::check("lease-watch.txt", &text);
    golden::check("lease-watch.json", &json);
}

#[test]
fn what_was_missed_is_told_and_what_was_told_is_not() {
    let mut story = Story::default();
    let first = lease(34, (Some(7), 12), TWILL);
    let second = lease(2, (Some(8), 13), FLANNEL);
    let leases = vec![first.clone(), second.clone()];
    let snapshot = Listing { leases, revision: Revision(13), ..Listing::default() };
    assert_eq!(story.tell(Event::Snapshot(snapshot.clone())).len(), 2);
    assert_eq!(story.tell(Event::Snapshot(snapshot)), [], "nothing happened");
    assert_eq!(story.tell(Event::Put(second)), [], "it comes twice");
    let third = lease(5, (Some(9), 20), FLANNEL);
    let snapshot = Listing {
        leases: vec![lease(34, (Some(7), 19), TWILL), third],
        revision: Revision(21),
        ..Listing::default()
    };
    let lines = story.tell(Event::Snapshot(snapshot));
    let whats: Vec<What> = lines.iter().map(|line| line.what).collect();
    assert_eq!(whats, [What::Gone, What::Renewed, What::New]);
    assert_eq!(story.tell(Event::Gone(first.key, Revision(22))).len(), 1);
    assert_eq!(story.tell(Event::Gone(first.key, Revision(22))), [], "it is gone already");
}

#[tokio::test]
async fn the_lines_go_on_after_an_absence_and_end_with_their_reader() {
    let store = Memory::default();
    store.put_raw("/coreos.com/network/config", b"{}");
    let held = claim(&store, 34).await;
    let mut out = Reader { lines: Vec::new(), patience: 4 };
    let world = async {
        // The first pass of the loop is over when somebody watches.
        tokio::task::yield_now().await;
        store.set_away(true);
        tokio::task::yield_now().await;
        store.set_away(false);
        store.revoke(&held.lease).await.unwrap();
        claim(&store, 35).await;
        claim(&store, 36).await;
    };
    let (report, ()) = tokio::join!(follow(&store, Output::Table, &mut out), world);
    assert_eq!(report.unwrap(), Report::default());
    let events: Vec<&str> =
        out.lines.iter().filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(events, ["EVENT", "there", "gone", "new"]);
}

/// Reads so many lines and leaves.
struct Reader {
    lines: Vec<String>,
    patience: usize,
}

impl Write for Reader {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let ends = text.matches('\n').count();
        self.patience = self
            .patience
            .checked_sub(ends)
            .ok_or_else(|| std::io::Error::from(ErrorKind::BrokenPipe))?;
        self.lines.push(text);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn claim(store: &Memory, third: u8) -> Held {
    let Lease { key, value, .. } = lease(third, (None, 0), FLANNEL);
    let ttl = Duration::from_mins(1);
    let bid =
        Bid { key, value, over: Over::Nothing, beside: None, config: None, ttl, record: None };
    let Claimed::Ours(held) = store.claim(&bid).await.unwrap() else { panic!("it was free") };
    held
}

const TWILL: &str = "{\"PublicIP\":\"192.168.140.22\",\"PublicIPv6\":null,\
    \"BackendType\":\"vxlan\",\"BackendData\":{\"VNI\":1,\"VtepMAC\":\"02:00:00:00:00:01\"},\
    \"TwillNodeID\":\"00000000000000000000000000000001\"}";
const FLANNEL: &str = r#"{"PublicIP":"192.168.140.23","PublicIPv6":null}"#;

fn lease(third: u8, (lease_id, revision): (Option<i64>, i64), value: &str) -> Lease {
    Lease {
        key: format!("10.88.{third}.0-24").parse().unwrap(),
        value: LeaseValue::parse(value.as_bytes()).unwrap(),
        revision: Revision(revision),
        lease_id: lease_id.map(LeaseId),
    }
}

fn spoilt(key: &str, lease: Option<&str>, revision: i64) -> Malformed {
    Malformed {
        key: key.to_owned(),
        lease: lease.map(|key| key.parse().unwrap()),
        why: "it is spoilt".to_owned(),
        revision: Revision(revision),
    }
}
