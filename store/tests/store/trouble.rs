//! What the store does when etcd is away, silent, strict or somewhere else.

use std::error::Error as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::{PATIENCE, Throwaway, command};
use tokio::time::timeout;
use twill_core::lease::{Event, LeaseValue};
use twill_core::pick::Over;
use twill_store::{
    Bid, Error, Etcd, Expected, Follow, Memory, Options, Store, Tls, Update, User, Watch,
};

/// Nothing listens there: the port is reserved (RFC 6335), and loopback refuses at once.
const NOBODY: &str = "http://127.0.0.1:1";

#[tokio::test]
async fn a_refused_connection_is_told_apart_and_names_everything() {
    let store = store(&[NOBODY]);
    let started = Instant::now();
    let error = store.leases().await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(2), "nobody had to be waited for");
    assert!(error.is_unreachable());
    assert_eq!(
        format!("{error}: {}", error.source().unwrap()),
        "cannot list the leases under /coreos.com/network/subnets/ in etcd at http://127.0.0.1:1: \
         no answer: Connection refused (os error 111)"
    );
    assert!(!error.hint().is_empty());
}

#[tokio::test]
async fn a_dead_endpoint_does_not_disturb_the_others() {
    let etcd = Throwaway::start();
    let store = store(&[NOBODY, &etcd.url()]);
    for _ in 0..20 {
        store.leases().await.unwrap();
    }
    store.watch(store.leases().await.unwrap().revision).await.unwrap();
}

#[tokio::test]
async fn etcd_that_is_silent_is_given_up_in_time() {
    let etcd = Throwaway::start();
    let store = brisk(&[&etcd.url()]);
    store.leases().await.unwrap();
    etcd.freeze(true);
    let started = Instant::now();
    let error = store.leases().await.unwrap_err();
    assert!(error.is_unreachable(), "{error}");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    etcd.freeze(false);
    eventually(|| async { store.leases().await.is_ok() }).await;
}

/// What is said to etcd arrives at once, what it answers too late for anybody.
#[tokio::test]
async fn a_slow_etcd_does_not_collect_empty_leases() {
    let etcd = Throwaway::start();
    let slow = brisk(&[&slow_answers(&etcd, Duration::from_millis(1500))]);
    let bid = Bid {
        subnet: "10.88.1.0/24".parse().unwrap(),
        value: LeaseValue::parse(br#"{"PublicIP":"192.0.2.1"}"#).unwrap(),
        over: Over::Nothing,
        config: None,
        ttl: Duration::from_hours(1),
    };
    let error = slow.claim(&bid).await.unwrap_err();
    assert!(error.is_unreachable(), "{error}");
    let count = || {
        let list = ["--endpoints", &etcd.url(), "lease", "list"];
        let output = command("etcdctl").env("ETCDCTL_API", "3").args(list).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    eventually(|| async {
        tokio::task::yield_now().await;
        count().contains("found 0 leases")
    })
    .await;
}

fn slow_answers(etcd: &Throwaway, delay: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let address = etcd.url().replace("http://", "");
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, server) = (client.unwrap(), TcpStream::connect(&address).unwrap());
            let (to, from) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || pass_on((client, to), Duration::ZERO));
            std::thread::spawn(move || pass_on((server, from), delay));
        }
    });
    url
}

fn pass_on((mut from, mut to): (TcpStream, TcpStream), delay: Duration) {
    let mut buffer = [0; 4096];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        std::thread::park_timeout(delay);
        if to.write_all(&buffer[..len]).is_err() {
            break;
        }
    }
}

#[tokio::test]
async fn a_watch_notices_that_the_other_end_is_silent() {
    let etcd = Throwaway::start();
    let store = brisk(&[&etcd.url()]);
    let mut watch = store.watch(store.leases().await.unwrap().revision).await.unwrap();
    etcd.freeze(true);
    let error = timeout(PATIENCE, watch.next()).await.expect("it must not hang").unwrap_err();
    assert!(error.is_unreachable(), "{error:?}");
    etcd.freeze(false);
}

#[tokio::test]
async fn following_survives_an_outage_and_misses_nothing() {
    let mut etcd = Throwaway::start();
    let store = brisk(&[&etcd.url()]);
    let mut follow = Follow::new(store.clone());
    assert!(matches!(step(&mut follow).await, Update::Event(Event::Snapshot(_))));
    put(&etcd, 1).await;
    assert!(matches!(step(&mut follow).await, Update::Event(Event::Put(_))));
    etcd.stop();
    let Update::Away(error) = step(&mut follow).await else { panic!("etcd is away") };
    assert!(error.is_unreachable(), "{error:?}");
    etcd.start_again();
    put(&etcd, 2).await;
    let back = Instant::now();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        match step(&mut follow).await {
            Update::Away(_) => {}
            other => seen.push(other),
        }
    }
    assert!(matches!(seen[0], Update::Back), "{seen:?}");
    // What came before the break may come again; what came during it must come.
    loop {
        let Some(Update::Event(Event::Put(lease))) = seen.pop() else { panic!("only puts") };
        if lease.key.to_string() == "10.88.2.0-24" {
            break;
        }
        seen.push(step(&mut follow).await);
    }
    assert!(back.elapsed() < Duration::from_secs(8), "{:?}", back.elapsed());
}

#[tokio::test]
async fn following_lists_again_when_etcd_comes_back_younger() {
    let mut etcd = Throwaway::start();
    put(&etcd, 1).await;
    put(&etcd, 2).await;
    let mut follow = Follow::new(brisk(&[&etcd.url()]));
    assert!(matches!(step(&mut follow).await, Update::Event(Event::Snapshot(_))));
    // It may or may not have begun to watch by now: both must end the same.
    etcd.stop();
    etcd.start_empty();
    loop {
        match step(&mut follow).await {
            Update::Event(Event::Snapshot(listing)) => {
                assert_eq!(listing.leases, []);
                break;
            }
            Update::Event(other) => panic!("nothing else happened: {other:?}"),
            Update::Away(_) | Update::Back => {}
        }
    }
}

#[tokio::test]
async fn a_wrong_password_is_a_denial_and_so_is_a_key_beyond_the_role() {
    let etcd = Throwaway::start();
    let mut root = etcd_client::Client::connect([etcd.url()], None).await.unwrap();
    root.role_add("root").await.unwrap();
    root.user_add("root", "secret", None).await.unwrap();
    root.user_grant_role("root", "root").await.unwrap();
    root.user_add("nobody", "secret", None).await.unwrap();
    root.auth_enable().await.unwrap();
    let as_user = |user: Option<(&str, &str)>| {
        let user = user
            .map(|(name, password)| User { name: name.to_owned(), password: password.to_owned() });
        let endpoints = vec![etcd.url()];
        Etcd::new(&Options { endpoints, user, ..Options::default() }).unwrap()
    };
    as_user(Some(("root", "secret"))).write_config("{}", Expected::Nothing).await.unwrap();
    let rows = [
        ("a wrong password", Some(("root", "wrong"))),
        ("a user without a role", Some(("nobody", "secret"))),
        ("no user at all", None),
    ];
    for (name, user) in rows {
        let error = as_user(user).config().await.unwrap_err();
        assert!(matches!(error, Error::Denied { .. }), "{name}: {error:?}");
        assert!(!format!("{error:?}").contains("secret"), "{name}: the password is in the error");
    }
}

#[tokio::test]
async fn tls_works_with_a_ca_alone_and_refuses_a_stranger() {
    let certs = tempfile::tempdir().unwrap();
    make_certificates(certs.path());
    let file = |name: &str| certs.path().join(name).to_str().unwrap().to_owned();
    let etcd = Throwaway::with(
        "https",
        &["--cert-file", &file("server.pem"), "--key-file", &file("server.key")],
    );
    let with = |ca: Option<&str>| {
        let tls = Tls { ca_file: ca.map(|ca| file(ca).into()), ..Tls::default() };
        Etcd::new(&Options { endpoints: vec![etcd.url()], tls, ..Options::default() }).unwrap()
    };
    with(Some("ca.pem")).leases().await.unwrap();
    for (name, ca) in [("another CA", Some("other.pem")), ("the system's CAs", None)] {
        let error = with(ca).leases().await.unwrap_err();
        let source = error.source().unwrap().to_string();
        assert!(error.is_unreachable() && source.contains("certificate"), "{name}: {source}");
        assert!(error.hint().contains("--etcd-cafile"), "{name}");
    }
}

#[tokio::test]
async fn the_twin_can_be_away_too() {
    let store = Memory::default();
    let mut follow = Follow::new(store.clone());
    assert!(matches!(step(&mut follow).await, Update::Event(Event::Snapshot(_))));
    store.put_raw("/coreos.com/network/subnets/10.88.1.0-24", br#"{"PublicIP":"192.0.2.1"}"#);
    assert!(matches!(step(&mut follow).await, Update::Event(Event::Put(_))));
    store.set_away(true);
    assert!(store.config().await.unwrap_err().is_unreachable());
    assert!(matches!(step(&mut follow).await, Update::Away(_)));
    assert!(matches!(step(&mut follow).await, Update::Away(_)), "and it tries again");
    store.delete_raw("/coreos.com/network/subnets/10.88.1.0-24");
    store.set_away(false);
    assert!(matches!(step(&mut follow).await, Update::Back));
    // What came right before the break comes again, which changes nothing.
    assert!(matches!(step(&mut follow).await, Update::Event(Event::Put(_))));
    assert!(matches!(step(&mut follow).await, Update::Event(Event::Gone(..))));
}

#[test]
fn options_are_checked_before_anything_is_tried() {
    let options = |endpoints: &[&str], tls: Tls| Options {
        endpoints: endpoints.iter().map(ToString::to_string).collect(),
        tls,
        ..Options::default()
    };
    let missing = Tls { ca_file: Some("/nonexistent/ca.pem".into()), ..Tls::default() };
    let half = Tls { cert_file: Some("/dev/null".into()), ..Tls::default() };
    let rows = [
        ("no endpoint", options(&[], Tls::default()), "the list of etcd's endpoints is empty"),
        (
            "another scheme",
            options(&["ftp://x"], Tls::default()),
            "`ftp://x` is not an endpoint of etcd",
        ),
        ("no host", options(&["http://"], Tls::default()), "`http://` is not an endpoint of etcd"),
        ("no such file", options(&["https://x:1"], missing), "cannot read /nonexistent/ca.pem"),
        (
            "half an identity",
            options(&["https://x:1"], half),
            "a client certificate and its key are needed together, and there is no key",
        ),
    ];
    for (name, options, words) in rows {
        assert_eq!(Etcd::new(&options).unwrap_err().to_string(), words, "{name}");
    }
}

fn store(endpoints: &[&str]) -> Etcd {
    let endpoints = endpoints.iter().map(ToString::to_string).collect();
    Etcd::new(&Options { endpoints, ..Options::default() }).unwrap()
}

/// Gives up soon, so that the test need not wait long.
fn brisk(endpoints: &[&str]) -> Etcd {
    let second = Duration::from_secs(1);
    Etcd::new(&Options {
        endpoints: endpoints.iter().map(ToString::to_string).collect(),
        deadline: second,
        probe: (second, second),
        ..Options::default()
    })
    .unwrap()
}

async fn put(etcd: &Throwaway, third: u8) {
    let mut client = etcd_client::Client::connect([etcd.url()], None).await.unwrap();
    let key = format!("/coreos.com/network/subnets/10.88.{third}.0-24");
    client.put(key, r#"{"PublicIP":"192.0.2.1"}"#, None).await.unwrap();
}

async fn step<S: Store>(follow: &mut Follow<S>) -> Update {
    timeout(PATIENCE, follow.next()).await.expect("it goes on")
}

async fn eventually<F: Future<Output = bool>>(holds: impl Fn() -> F) {
    let checked = async { while !holds().await {} };
    timeout(PATIENCE, checked).await.expect("it becomes true");
}

/// A CA with a server certificate for 127.0.0.1, and a CA that signed nothing.
fn make_certificates(dir: &Path) {
    let openssl = |arguments: &str| {
        let output = command("openssl").args(arguments.split(' ')).current_dir(dir).output();
        let output = output.expect("openssl is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    for ca in ["ca", "other"] {
        openssl(&format!("req -x509 {key} -keyout {ca}.key -out {ca}.pem -days 2 -subj /CN={ca}"));
    }
    openssl(&format!("req {key} -keyout server.key -out server.csr -subj /CN=etcd"));
    std::fs::write(dir.join("ext"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    openssl(
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext \
         -out server.pem",
    );
}
