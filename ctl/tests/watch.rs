//! `twillctl lease watch` against a real etcd that goes away and comes back.

#![expect(clippy::unwrap_used, reason = "it fails the test, with its line")]

mod support;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;
use support::{Etcd, own_address, start, twillctl};

const SUBNETS: &str = "/coreos.com/network/subnets";
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn every_event_is_a_line_and_etcds_absence_is_a_word() {
    let mut etcd = with_network();
    etcd.put(&format!("{SUBNETS}/10.88.9.0-24"), r#"{"PublicIP":"192.168.140.24"}"#);
    let mut watch = Watch::start(&etcd, &["-o", "json"]);
    assert_eq!(watch.event(), ("there".to_owned(), "10.88.9.0/24".to_owned()));
    etcd.put_for(&format!("{SUBNETS}/10.88.2.0-24"), r#"{"PublicIP":"192.168.140.23"}"#, 600);
    assert_eq!(watch.event(), ("new".to_owned(), "10.88.2.0/24".to_owned()));

    etcd.stop();
    watch.hears("trying again");
    etcd.start_again();
    watch.hears("etcd answers again");
    etcd.twillctl(&["lease", "revoke", "10.88.9.0/24", "--yes"]).ok();
    assert_eq!(watch.event(), ("gone".to_owned(), "10.88.9.0/24".to_owned()));

    watch.interrupt();
    assert_eq!(watch.code(), Some(0));
}

#[test]
fn a_reader_that_leaves_ends_it_although_nothing_happens() {
    let etcd = with_network();
    let mut watch = Watch::start(&etcd, &[]);
    assert!(watch.line().starts_with("TIME "), "the header comes at once");
    watch.leave();
    assert_eq!(watch.code(), Some(0));
}

#[test]
fn what_cannot_begin_is_refused() {
    let etcd = with_network();
    etcd.twillctl(&["lease", "watch", "--prefix", "/elsewhere"]).refused(4, "no network");
    let nobody = format!("http://{}:9", own_address());
    let options = ["lease", "watch", "--timeout", "1", "--etcd-endpoints", &nobody];
    twillctl(&options).refused(5, "etcd");
}

fn with_network() -> Etcd {
    let etcd = Etcd::start();
    etcd.twillctl(&["network", "init", "--network", "10.88.0.0/16"]).ok();
    etcd
}

/// A twillctl that watches.
struct Watch {
    child: Child,
    out: Option<BufReader<ChildStdout>>,
    words: Receiver<String>,
}

impl Watch {
    fn start(etcd: &Etcd, options: &[&str]) -> Self {
        let endpoint = etcd.endpoint();
        let common = ["--etcd-endpoints", &endpoint, "lease", "watch"];
        let mut child = start(&[&common[..], options].concat());
        let out = child.stdout.take().map(BufReader::new);
        let (tell, words) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                // The test may be over.
                _ = tell.send(line);
            }
        });
        Self { child, out, words }
    }

    /// nextest ends a test that waits here for ever.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.as_mut().unwrap().read_line(&mut line).unwrap();
        line
    }

    fn event(&mut self) -> (String, String) {
        let line = self.line();
        let event: Value = serde_json::from_str(&line).unwrap_or_else(|_no| panic!("{line:?}"));
        let text = |name: &str| event[name].as_str().unwrap().to_owned();
        (text("event"), text("subnet"))
    }

    fn hears(&self, words: &str) {
        while !self.words.recv_timeout(PATIENCE).expect(words).contains(words) {}
    }

    fn leave(&mut self) {
        self.out = None;
    }

    fn interrupt(&self) {
        support::signal("INT", self.child.id());
    }

    fn code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It has ended, unless the test failed.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
