//! What the store does when etcd is away, silent, strict or somewhere else.

use std::error::Error as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::support::{PATIENCE, Throwaway, command, eventually};
use crate::world::third_of;
use tokio::time::timeout;
use twill_core::lease::{Event, LeaseValue, Listing};
use twill_core::pick::Over;
use twill_store::{
    Bid, Error, Etcd, Expected, Follow, Memory, Options, Password, Scope, Store, Tls, Update, User,
    Watch,
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
    store.watch(store.leases().await.unwrap().revision, Scope::Leases).await.unwrap();
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
        key: "10.88.1.0-24".parse().unwrap(),
        value: LeaseValue::parse(br#"{"PublicIP":"192.0.2.1"}"#).unwrap(),
        over: Over::Nothing,
        beside: None,
        config: None,
        ttl: Duration::from_hours(1),
        record: None,
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
    let mut watch =
        store.watch(store.leases().await.unwrap().revision, Scope::Leases).await.unwrap();
    etcd.freeze(true);
    let error = timeout(PATIENCE, watch.next()).await.expect("it must not hang").unwrap_err();
    assert!(error.is_unreachable(), "{error:?}");
    etcd.freeze(false);
}

#[tokio::test]
async fn following_survives_an_outage_and_misses_nothing() {
    let mut etcd = Throwaway::start();
    let store = brisk(&[&etcd.url()]);
    let mut follow = Follow::new(store.clone(), Scope::Leases);
    assert!(matches!(step(&mut follow).await, Update::Event(Event::Snapshot(_))));
    put(&etcd, 1).await;
    assert!(matches!(step(&mut follow).await, Update::Event(Event::Put(_))));
    etcd.stop();
    let Update::Away(error) = step(&mut follow).await else { panic!("etcd is away") };
    assert!(error.is_unreachable(), "{error:?}");
    etcd.start_again();
    put(&etcd, 2).await;
    let back = Instant::now();
    let listing = next_listing(&mut follow).await;
    assert_eq!(listing.leases.len(), 2, "what came before the break, and what came during it");
    assert!(matches!(step(&mut follow).await, Update::Back), "and the watch stands again");
    assert!(back.elapsed() < Duration::from_secs(8), "{:?}", back.elapsed());
}

#[tokio::test]
async fn following_lists_again_when_etcd_comes_back_younger() {
    let mut etcd = Throwaway::start();
    put(&etcd, 1).await;
    put(&etcd, 2).await;
    let mut follow = Follow::new(brisk(&[&etcd.url()]), Scope::Leases);
    assert!(matches!(step(&mut follow).await, Update::Event(Event::Snapshot(_))));
    // It may or may not have begun to watch by now: both must end the same.
    etcd.stop();
    etcd.start_empty();
    assert_eq!(next_listing(&mut follow).await.leases, []);
}

/// The copy lacks what was told, and revisions of that age are there again: with another meaning.
#[tokio::test]
async fn following_is_not_deaf_to_an_etcd_that_was_put_back_and_has_overtaken_it() {
    let mut etcd = Throwaway::start();
    put(&etcd, 1).await;
    let mut follow = Follow::new(brisk(&[&etcd.url()]), Scope::Leases);
    assert_eq!(next_listing(&mut follow).await.leases.len(), 1);
    put(&etcd, 2).await;
    assert!(matches!(step(&mut follow).await, Update::Event(Event::Put(_))));
    etcd.stop();
    etcd.start_empty();
    for third in 3..=7 {
        put(&etcd, third).await;
    }
    let listing = next_listing(&mut follow).await;
    let thirds = listing.leases.iter().map(third_of);
    assert_eq!(thirds.collect::<Vec<_>>(), [3, 4, 5, 6, 7]);
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
        let user = user.map(|(name, password)| User {
            name: name.to_owned(),
            password: Password::Word(password.to_owned()),
        });
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
async fn the_twin_can_be_away_too() {
    let store = Memory::default();
    let mut follow = Follow::new(store.clone(), Scope::Leases);
    assert!(matches!(step(&mut follow).await, Update::Event(Event::Snapshot(_))));
    store.put_raw("/coreos.com/network/subnets/10.88.1.0-24", br#"{"PublicIP":"192.0.2.1"}"#);
    assert!(matches!(step(&mut follow).await, Update::Event(Event::Put(_))));
    store.set_away(true);
    assert!(store.config().await.unwrap_err().is_unreachable());
    assert!(matches!(step(&mut follow).await, Update::Away(_)));
    assert!(matches!(step(&mut follow).await, Update::Away(_)), "and it tries again");
    store.delete_raw("/coreos.com/network/subnets/10.88.1.0-24");
    store.set_away(false);
    assert_eq!(next_listing(&mut follow).await.leases, []);
    assert!(matches!(step(&mut follow).await, Update::Back));
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

/// The next one, after whatever a break brings.
async fn next_listing<S: Store>(follow: &mut Follow<S>) -> Listing {
    loop {
        match step(follow).await {
            Update::Event(Event::Snapshot(listing)) => return listing,
            Update::Event(other) => panic!("a listing comes first: {other:?}"),
            Update::Away(_) | Update::Back => {}
            Update::Config(_) | Update::Question(_) => panic!("nobody asked for it"),
        }
    }
}

async fn step<S: Store>(follow: &mut Follow<S>) -> Update {
    timeout(PATIENCE, follow.next()).await.expect("it goes on")
}
