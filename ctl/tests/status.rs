//! `twillctl status` against something that speaks like the agent.

#![expect(clippy::unwrap_used, reason = "it fails the test, with its line")]

mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use support::{Answer, twillctl};
use tempfile::TempDir;

const STATUS: &str = r#"{"version":"0.1.0","node":"00000000000000000000000000000001","hostname":"node1","backend":"udp","device":"flannel0","mtu":1472,"network":"10.88.0.0/16","subnet":"10.88.34.0/24","public_ip":"192.168.140.22","lease_expires":32503680000,"etcd":"connected","peers":[],"ignored":[],"pending":[],"last_error":null,"of_a_later_version":1}"#;

const NOT_READY: &str = "flanneld is not ready yet\netcd is away\nno route\n";

#[test]
fn a_host_that_is_ready() {
    let agent = Agent::answering([(200, STATUS), (200, "ok")]);
    assert!(agent.status(&[]).ok().contains("State      converged"));
    let json = Agent::answering([(200, STATUS), (200, "ok")]).status(&["-o", "json"]).ok();
    assert!(json.contains("\"of_a_later_version\": 1"), "{json}");
}

#[test]
fn hosts_that_are_not_ready_end_with_three() {
    let busy = STATUS.replace(r#""pending":[]"#, r#""pending":["put route 10.88.7.0/24"]"#);
    let failing = STATUS.replace(r#""last_error":null"#, r#""last_error":"no device""#);
    let rows = [
        ("a write to do", [(200, busy.as_str()), (200, "ok")], "1 write to do"),
        ("an error", [(200, &failing), (200, "ok")], "failing: no device"),
        ("the agent says so", [(200, STATUS), (503, NOT_READY)], "converged"),
    ];
    for (name, answers, state) in rows {
        let answer = Agent::answering(answers).status(&[]);
        assert_eq!(answer.code, 3, "{name}: {answer:?}");
        assert!(answer.data.contains(state), "{name}: {answer:?}");
    }
    let answer = Agent::answering([(200, STATUS), (503, NOT_READY)]).status(&[]);
    assert_eq!(answer.words, "twillctl: the agent is not ready: etcd is away; no route\n");

    let answer = Agent::answering([(503, "no lease yet"), (503, "")]).status(&[]);
    assert_eq!((answer.code, answer.data.as_str()), (3, ""), "{answer:?}");
    assert!(answer.words.contains("no lease yet"), "{answer:?}");
}

#[test]
fn peers_of_an_agent_that_is_ready_and_of_one_that_is_not() {
    let peers = STATUS.replace(
        r#""peers":[]"#,
        r#""peers":[{"subnet":"10.88.7.0/24","public_ip":"192.168.140.23","backend":"udp on port 8285","since":1700000000,"pending":[]}]"#,
    );
    let table = Agent::answering([(200, peers.as_str())]).ask("peers", &[]).ok();
    assert!(table.contains("10.88.7.0/24  192.168.140.23  udp on port 8285"), "{table}");
    let json = Agent::answering([(200, peers.as_str())]).ask("peers", &["-o", "json"]).ok();
    assert!(json.contains(r#""state": "in-place""#), "{json}");
    // One of a version that told less.
    let earlier = STATUS
        .replace(r#""peers":[]"#, r#""peers":[{"subnet":"10.88.7.0/24","public_ip":"192.0.2.3"}]"#);
    let table = Agent::answering([(200, earlier.as_str())]).ask("peers", &[]).ok();
    assert!(table.contains("10.88.7.0/24  192.0.2.3  -        -          in place"), "{table}");
    let answer = Agent::answering([(503, "no lease yet")]).ask("peers", &[]);
    assert_eq!((answer.code, answer.data.as_str()), (3, ""), "{answer:?}");
    assert!(answer.words.contains("no lease yet"), "{answer:?}");
}

#[test]
fn a_doctor_tells_what_the_agent_found_and_what_is_missing() {
    let well =
        r#"[{"check":"MTU","verdict":"ok","what":"flannel.1 carries 1450 bytes","hint":null}]"#;
    // Nobody listens there.
    let nowhere = ["--etcd-endpoints", "http://127.0.0.1:1", "--timeout", "2"];
    // It is asked whether it lives first.
    let answer = Agent::answering([(200, "ok"), (200, well)]).ask("doctor", &nowhere);
    assert_eq!(answer.code, 6, "{answer:?}");
    let lines: Vec<&str> = answer.data.lines().collect();
    assert!(lines[1].starts_with("ok    MTU    flannel.1 carries 1450 bytes"), "{answer:?}");
    assert!(lines[2].starts_with("FAIL  etcd   cannot read"), "{answer:?}");
    assert!(lines[3].contains("hint: "), "{answer:?}");

    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("none.sock");
    let without = ["doctor", "-o", "json", "--socket", socket.to_str().unwrap()];
    let answer = twillctl(&[&without[..], &nowhere].concat());
    assert_eq!(answer.code, 6, "{answer:?}");
    assert!(answer.data.contains("no agent answers at"), "{answer:?}");
    assert!(answer.data.contains("below is what its program finds by itself"), "{answer:?}");
    assert!(answer.data.contains(r#""check": "etcd""#), "{answer:?}");

    let earlier = Agent::answering([(200, "ok"), (404, "")]).ask("doctor", &nowhere);
    assert!(earlier.data.contains("the agent knows no /doctor (404"), "{earlier:?}");
}

#[test]
fn an_agent_that_is_not_there_or_not_an_agent() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("none.sock");
    let socket = socket.to_str().unwrap();
    twillctl(&["status", "--socket", socket]).refused(5, socket);

    let agent = Agent::answering([(200, "{}"), (200, "ok")]);
    agent.status(&[]).refused(1, "another form");

    let deaf = UnixListener::bind(directory.path().join("deaf.sock")).unwrap();
    let path = directory.path().join("deaf.sock");
    let arguments = ["status", "--timeout", "0.3", "--socket", path.to_str().unwrap()];
    twillctl(&arguments).refused(5, "did not answer within 0.3 s");
    drop(deaf);
}

/// Answers as many requests as it was given answers, one a connection.
struct Agent {
    socket: PathBuf,
    _directory: TempDir,
}

impl Agent {
    fn answering<const N: usize>(answers: [(u16, &str); N]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("agent.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let answers = answers.map(|(code, body)| {
            let length = body.len();
            format!("HTTP/1.1 {code} x\r\ncontent-length: {length}\r\n\r\n{body}")
        });
        // Ends with the test process, if twillctl asks less often.
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _peer) = listener.accept().unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let _request: Vec<_> =
                    lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        Self { socket, _directory: directory }
    }

    fn status(&self, options: &[&str]) -> Answer {
        self.ask("status", options)
    }

    fn ask(&self, command: &str, options: &[&str]) -> Answer {
        let socket = self.socket.to_str().unwrap();
        twillctl(&[&[command, "--socket", socket][..], options].concat())
    }
}
