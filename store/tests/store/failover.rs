//! Endpoints that are dead, silent, half there, without a leader or strangers to us, beside one that
//! is well.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::time::timeout;
use twill_core::lease::Event;
use twill_store::{Etcd, Follow, Options, Scope, Store, Update, Watch};

use crate::support::{PATIENCE, Throwaway, eventually};
use crate::users::Users;

/// Nothing listens there: the port is reserved (RFC 6335), and loopback refuses at once.
const NOBODY: &str = "http://127.0.0.1:1";
/// What one endpoint may take.
const DEADLINE: Duration = Duration::from_secs(1);
/// For the machine to be busy.
const SLACK: Duration = Duration::from_millis(900);

#[tokio::test]
async fn a_silent_endpoint_costs_one_deadline_once() {
    let (silent, well) = (Throwaway::start(), Throwaway::start());
    let store = brisk(&[NOBODY, &silent.url(), &well.url()]);
    silent.freeze(true);
    assert!(took(store.leases()).await < DEADLINE + SLACK);
    for _ in 0..5 {
        assert!(took(store.leases()).await < SLACK, "the one that is well is remembered");
    }
    silent.freeze(false);
}

#[tokio::test]
async fn an_endpoint_that_falls_silent_or_dies_later_is_left_and_found_again() {
    let (mut first, second) = (Throwaway::start(), Throwaway::start());
    let store = brisk(&[&first.url(), &second.url()]);
    store.leases().await.unwrap();
    first.freeze(true);
    assert!(took(store.leases()).await < DEADLINE + SLACK);
    first.freeze(false);

    first.stop();
    second.freeze(true);
    let started = Instant::now();
    let error = store.leases().await.unwrap_err();
    assert!(error.is_unreachable() && error.to_string().contains(&second.url()), "{error}");
    assert!(started.elapsed() < DEADLINE * 2 + SLACK, "{:?}", started.elapsed());
    first.start_again();
    assert!(took(store.leases()).await < DEADLINE * 2 + SLACK, "the connection is made anew");
    second.freeze(false);
}

#[tokio::test]
async fn what_a_half_open_connection_swallows_goes_elsewhere() {
    let (behind, well) = (Throwaway::start(), Throwaway::start());
    let hole = Hole::before(&behind);
    let store = brisk(&[&hole.url, &well.url()]);
    let watch = || store.watch(twill_core::ids::Revision(1), Scope::Leases);
    let mut standing = watch().await.unwrap();
    hole.swallow(true);
    assert!(took(store.leases()).await < DEADLINE + SLACK);
    assert!(took(watch()).await < SLACK, "a watch goes to the one that answered");
    let error = timeout(PATIENCE, standing.next()).await.expect("it is not deaf").unwrap_err();
    assert!(error.is_unreachable(), "{error:?}");

    // A new connection is silent as well, until the hole lets go.
    let alone = brisk(&[&hole.url]);
    for _ in 0..3 {
        let started = Instant::now();
        alone.leases().await.unwrap_err();
        assert!(started.elapsed() < DEADLINE + SLACK, "{:?}", started.elapsed());
    }
    hole.swallow(false);
    eventually(|| async { alone.leases().await.is_ok() }).await;
}

#[tokio::test]
async fn following_moves_from_a_hole_to_an_endpoint_that_is_well() {
    let etcd = Throwaway::start();
    let hole = Hole::before(&etcd);
    let store = brisk(&[&hole.url, &etcd.url()]);
    let mut follow = Follow::new(store, Scope::Leases);
    let mut step = async || timeout(PATIENCE, follow.next()).await.expect("it goes on");
    assert!(matches!(step().await, Update::Event(Event::Snapshot(_))));
    put(&etcd, 1).await;
    assert!(matches!(step().await, Update::Event(Event::Put(_))));
    hole.swallow(true);
    put(&etcd, 2).await;
    let (started, mut away) = (Instant::now(), 0);
    loop {
        match step().await {
            Update::Away(_) => away += 1,
            Update::Event(Event::Snapshot(listing)) if listing.leases.len() == 2 => break,
            Update::Event(_) | Update::Back => {}
            other => panic!("not in this test: {other:?}"),
        }
    }
    // One probe, one call that finds out, and the pauses between.
    assert!(started.elapsed() < DEADLINE * 6, "{:?}", started.elapsed());
    assert!((1..=3).contains(&away), "it tried {away} times");
}

#[tokio::test]
async fn a_member_without_a_leader_is_left() {
    let (lost, well) = (Throwaway::start(), Throwaway::start());
    let store = brisk(&[&lost.url(), &well.url()]);
    let mut watch = store.watch(twill_core::ids::Revision(1), Scope::Leases).await.unwrap();
    // Two members of which one never comes: the other cannot lead any longer.
    let mut client = etcd_client::Client::connect([lost.url()], None).await.unwrap();
    client.member_add(["http://127.0.0.1:1"], None).await.unwrap();
    let error = timeout(PATIENCE, watch.next()).await.expect("it is told").unwrap_err();
    assert!(error.is_unreachable(), "{error:?}");
    assert!(took(store.leases()).await < DEADLINE + SLACK);
    let error = brisk(&[&lost.url()]).leases().await.unwrap_err();
    assert!(error.is_unreachable(), "{error:?}");
}

#[tokio::test]
async fn an_endpoint_that_does_not_know_us_is_passed_over() {
    let (strict, well) = (Throwaway::start(), Throwaway::start());
    Users::of(&strict, None).await.insist().await;
    brisk(&[&strict.url(), &well.url()]).leases().await.unwrap();
    let error = brisk(&[&strict.url(), NOBODY]).leases().await.unwrap_err();
    assert!(!error.is_unreachable(), "what it said says more than the other's silence: {error}");
}

/// Passes bytes on, or swallows them and says nothing.
struct Hole {
    url: String,
    swallows: Arc<AtomicBool>,
}

impl Hole {
    fn before(etcd: &Throwaway) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (address, swallows) = (etcd.url().replace("http://", ""), Arc::default());
        let hole = Self { url, swallows: Arc::clone(&swallows) };
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(&address).unwrap());
                let (to, from) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                for (from, to) in [(client, to), (server, from)] {
                    let swallows = Arc::clone(&swallows);
                    std::thread::spawn(move || pass_on((from, to), &swallows));
                }
            }
        });
        hole
    }

    fn swallow(&self, on: bool) {
        self.swallows.store(on, Ordering::SeqCst);
    }
}

fn pass_on((mut from, mut to): (TcpStream, TcpStream), swallows: &AtomicBool) {
    let mut buffer = [0; 4096];
    let mut torn = false;
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        // What lost bytes once stays silent: the rest would make no sense.
        torn |= swallows.load(Ordering::SeqCst);
        if !torn && to.write_all(&buffer[..len]).is_err() {
            break;
        }
    }
}

async fn took<T>(call: impl Future<Output = Result<T, twill_store::Error>>) -> Duration {
    let started = Instant::now();
    drop(call.await.unwrap());
    started.elapsed()
}

fn brisk(endpoints: &[&str]) -> Etcd {
    Etcd::new(&Options {
        endpoints: endpoints.iter().map(ToString::to_string).collect(),
        deadline: DEADLINE,
        probe: (DEADLINE, DEADLINE),
        ..Options::default()
    })
    .unwrap()
}

async fn put(etcd: &Throwaway, third: u8) {
    let mut client = etcd_client::Client::connect([etcd.url()], None).await.unwrap();
    let key = format!("/coreos.com/network/subnets/10.88.{third}.0-24");
    client.put(key, r#"{"PublicIP":"192.0.2.1"}"#, None).await.unwrap();
}
