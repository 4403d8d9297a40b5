use std::time::Duration;

use clap::Parser as _;
use twill_core::ids::NodeId;
use twill_core::lease::LeaseValue;
use twill_core::pick::Over;
use twill_store::{Bid, Memory};

use super::*;
use crate::args::{Cli, Command, Network};
use crate::golden;

const VXLAN: &str = r#"{"Network":"10.88.0.0/16","Colour":"red","Backend":{"Type":"vxlan"}}"#;

#[tokio::test]
async fn the_changes_are_shown_asked_about_and_written() {
    let store = store(VXLAN).await;
    let asked = async |question: &str| {
        golden::check("network-set-question.txt", &format!("{question}\n"));
        Ok(true)
    };
    let order = order(&["--mtu", "1400", "--subnet-min", "10.88.10.0"]);
    let done = set(&store, &order, Output::Json, asked).await.unwrap();
    let text = String::from_utf8(store.config().await.unwrap().unwrap().text).unwrap();
    assert_eq!(
        text,
        r#"{"Network":"10.88.0.0/16","Colour":"red","Backend":{"Type":"vxlan","MTU":1400},"SubnetMin":"10.88.10.0"}"#
    );
    golden::check("network-set.json", &done.data);
    assert!(done.notes.iter().any(|note| note.contains("flanneld takes")), "{done:?}");

    let again = set(&store, &order, Output::Table, never).await.unwrap();
    assert!(again.notes.iter().any(|note| note.contains("already")), "{again:?}");
}

#[tokio::test]
async fn a_no_and_a_dry_run_leave_it() {
    let store = store(VXLAN).await;
    let no = async |_question: &str| Ok(false);
    let refused = set(&store, &order(&["--mtu", "1400"]), Output::Table, no).await;
    assert_eq!(refused.unwrap_err().exit_code(), 1);
    let dry = order(&["--mtu", "1400", "--dry-run"]);
    let shown = set(&store, &dry, Output::Table, never).await.unwrap();
    assert!(shown.data.contains("Backend.MTU"), "{shown:?}");
    assert_eq!(store.config().await.unwrap().unwrap().text, VXLAN.as_bytes());
}

#[tokio::test]
async fn a_configuration_that_somebody_wrote_meanwhile_stays() {
    let store = store(VXLAN).await;
    let meanwhile = async |_question: &str| {
        store.write_config(r#"{"Network":"10.99.0.0/16"}"#, Expected::Anything).await.unwrap();
        Ok(true)
    };
    let failure = set(&store, &order(&["--mtu", "1400"]), Output::Table, meanwhile).await;
    assert!(failure.unwrap_err().to_string().contains("meanwhile"));
    let text = store.config().await.unwrap().unwrap().text;
    assert_eq!(text, br#"{"Network":"10.99.0.0/16"}"#);
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_and_what_is_broken_is_mended() {
    let store = store(r#"{"Network":"10.88.0.0/16","SubnetLen":40}"#).await;
    for options in [["--subnet-len", "41"], ["--json", "{}"]] {
        let failure = set(&store, &order(&options), Output::Table, never).await.unwrap_err();
        assert_eq!(failure.exit_code(), 2, "{failure}");
        assert!(failure.to_string().contains("\nhint: "), "{failure}");
    }
    let mend = order(&["--subnet-len", "default", "--yes"]);
    let done = set(&store, &mend, Output::Table, never).await.unwrap();
    assert!(done.data.contains("what nobody can use: SubnetLen is 40"), "{done:?}");
    let failure = set(&Memory::default(), &mend, Output::Table, never).await.unwrap_err();
    assert_eq!(failure.exit_code(), 4);
}

#[tokio::test]
async fn what_means_the_same_is_written_without_a_change() {
    let store = store(VXLAN).await;
    let spelt = order(&["--port", "8472", "--yes"]);
    let done = set(&store, &spelt, Output::Table, never).await.unwrap();
    assert_eq!(done.data, "");
    assert!(done.notes.iter().any(|note| note.contains("notice nothing")), "{done:?}");
    let text = store.config().await.unwrap().unwrap().text;
    assert!(String::from_utf8(text).unwrap().contains("\"Port\":8472"));
}

async fn never(question: &str) -> Result<bool, Failure> {
    panic!("asked: {question}")
}

/// A host of Twill below what is to be the lowest subnet, one of flannel above it, and a reservation.
async fn store(config: &str) -> Memory {
    let store = Memory::default();
    store.write_config(config, Expected::Nothing).await.unwrap();
    for (third, node) in [(3, Some(3)), (34, None)] {
        let value = format!(r#"{{"PublicIP":"192.0.2.{third}"}}"#);
        let mut value = LeaseValue::parse(value.as_bytes()).unwrap();
        value.node = node.map(|byte| NodeId::from_random([byte; 16]));
        let bid = Bid {
            key: format!("10.88.{third}.0-24").parse().unwrap(),
            value,
            over: Over::Nothing,
            beside: None,
            config: None,
            ttl: Duration::from_mins(1),
            record: None,
        };
        store.claim(&bid).await.unwrap();
    }
    store.put_raw("/coreos.com/network/subnets/10.88.9.0-24", br#"{"PublicIP":"192.0.2.9"}"#);
    store
}

fn order(options: &[&str]) -> Order {
    let line = [&["twillctl", "network", "set"], options].concat();
    let Command::Network(Network::Set(set)) = Cli::try_parse_from(line).unwrap().command else {
        panic!("that is what was written")
    };
    Order::of(set).unwrap()
}
