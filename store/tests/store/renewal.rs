//! Certificates, passwords and logins that are renewed under a store that lives on.

use std::time::{Duration, Instant};

use crate::certificates::{Certificates, Says};
use crate::support::{PATIENCE, Throwaway, eventually};
use crate::users::Users;
use crate::world::third_of;
use tokio::time::timeout;
use twill_core::lease::{Event, Lease};
use twill_store::{Etcd, Follow, Options, Password, Scope, Store, Tls, Update, User, Watch};

#[tokio::test]
async fn new_certificates_and_a_new_authority_are_taken_up() {
    let certificates = Certificates::new();
    certificates.sign("client", Says { name: "host1", ..Says::default() });
    let mut etcd = Throwaway::with_options("https", certificates.strict("server", "ca"));
    let store = quick(&etcd, certificates.client("ca", Some("client")));
    store.leases().await.unwrap();

    // Everything anew: nothing of before is good any more, on either side.
    for (file, name) in [("server2", "etcd"), ("client2", "host1")] {
        certificates.sign(file, Says { authority: "other", name, ..Says::default() });
    }
    etcd.stop();
    for (old, new) in [("ca", "other"), ("server", "server2"), ("client", "client2")] {
        certificates.replace(&format!("{old}.key"), &format!("{new}.key"));
        certificates.replace(&format!("{old}.pem"), &format!("{new}.pem"));
    }
    etcd.start_again();
    store.leases().await.unwrap();
}

#[tokio::test]
async fn what_is_half_written_waits_until_it_is_whole() {
    let certificates = Certificates::new();
    for (file, authority) in [("client", "ca"), ("client2", "other"), ("server2", "other")] {
        certificates.sign(file, Says { authority, name: "host1", ..Says::default() });
    }
    let mut etcd = Throwaway::with_options("https", certificates.strict("server", "ca"));
    let store = quick(&etcd, certificates.client("ca", Some("client")));
    store.leases().await.unwrap();
    certificates.replace("client.pem", "client2.pem");
    store.leases().await.unwrap();
    etcd.stop();
    etcd.start_again();
    store.leases().await.expect("a new connection with the last pair that was whole");

    certificates.replace("client.key", "client2.key");
    store.leases().await.expect("etcd does not take the new one yet: the old connection stays");

    etcd.stop();
    certificates.replace("ca.pem", "other.pem");
    certificates.replace("server.pem", "server2.pem");
    certificates.replace("server.key", "server2.key");
    etcd.start_again();
    store.leases().await.expect("now it is whole on both sides");
}

#[tokio::test]
async fn connections_move_to_new_certificates_though_the_old_ones_still_work() {
    let certificates = Certificates::new();
    for name in ["root", "host1", "host2"] {
        certificates.sign(name, Says { name, ..Says::default() });
    }
    certificates.replace("client.pem", "host1.pem");
    certificates.replace("client.key", "host1.key");
    let etcd = Throwaway::with_options("https", certificates.strict("server", "ca"));
    let mut users = Users::of(&etcd, Some(&certificates.client("ca", Some("root")))).await;
    users.add("host1", "unused").await;
    users.add_without_role("host2", "unused").await;
    users.insist().await;
    let store = quick(&etcd, certificates.client("ca", Some("client")));
    store.leases().await.unwrap();
    certificates.replace("client.key", "host2.key");
    certificates.replace("client.pem", "host2.pem");
    // That the other user may less shows that it is the one that asks.
    eventually(|| async { store.leases().await.is_err_and(|error| !error.is_unreachable()) }).await;
}

#[tokio::test]
async fn a_new_password_is_taken_up() {
    let certificates = Certificates::new();
    let etcd = Throwaway::start();
    let mut users = Users::of(&etcd, None).await;
    users.add("host1", "first").await;
    users.insist().await;
    certificates.write("password", "first\n");
    let store = with_user(&etcd, Password::File(certificates.path("password")));
    store.leases().await.unwrap();
    let mut follow = Follow::new(store.clone(), Scope::Leases);
    assert!(matches!(step(&mut follow).await, Update::Event(Event::Snapshot(_))));

    users.change("host1", "second").await;
    let error = store.leases().await.unwrap_err();
    assert!(!error.is_unreachable(), "etcd is there and says no: {error:?}");
    certificates.write("password", "second\n");
    store.leases().await.unwrap();
    users.put(1).await;
    put_arrives(&mut follow, 1).await;
}

#[tokio::test]
async fn etcd_that_forgot_who_logged_in_is_told_again() {
    let mut etcd = Throwaway::start();
    let mut users = Users::of(&etcd, None).await;
    users.add("host1", "geheim").await;
    users.insist().await;
    let store = with_user(&etcd, Password::Word("geheim".to_owned()));
    let mut follow = Follow::new(store.clone(), Scope::Leases);
    assert!(matches!(step(&mut follow).await, Update::Event(Event::Snapshot(_))));
    for third in 1..=3 {
        etcd.stop();
        etcd.start_again();
        // Odd ones find the watch first, even ones a call.
        if third % 2 == 0 {
            store.leases().await.unwrap();
        }
        users.put(third).await;
        put_arrives(&mut follow, third).await;
    }
}

/// No other call logs in for it, and no error of a call tells the client to: a watch is refused in a
/// message of its own.
#[tokio::test]
async fn a_watch_alone_logs_in_again() {
    let (_keys, etcd) = short_logins().await;
    let store = with_user(&etcd, Password::Word("geheim".to_owned()));
    let revision = store.leases().await.unwrap().revision;
    for _ in 0..2 {
        tokio::time::sleep(LOGIN + Duration::from_millis(1500)).await;
        let started = Instant::now();
        let watch = store.watch(revision, Scope::Leases).await;
        drop(watch.expect("the login is over, and this is the first to find out"));
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    }
}

#[tokio::test]
async fn logins_that_end_and_users_that_change_are_not_noticed_outside() {
    let (_keys, etcd) = short_logins().await;
    let mut users = Users::with_login(&etcd, ("root", "secret"));
    let store = with_user(&etcd, Password::Word("geheim".to_owned()));
    let revision = store.leases().await.unwrap().revision;
    let mut watch = store.watch(revision, Scope::Leases).await.unwrap();
    let started = Instant::now();
    let mut third = 0;
    while started.elapsed() < LOGIN * 3 {
        third += 1;
        // A token says which state of the users it was made for, and is void in the next.
        users.add_without_role(&format!("user{third}"), "unused").await;
        users.put(third).await;
        store.leases().await.unwrap();
        let seen = timeout(PATIENCE, watch.next()).await.expect("it goes on").unwrap();
        assert!(format!("{seen:?}").contains(&format!("10.88.{third}.0")), "{seen:?}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// How long a login lasts.
const LOGIN: Duration = Duration::from_secs(2);

/// An etcd with signed tokens of a short life, and `host1` whose password is `geheim`.
async fn short_logins() -> (Certificates, Throwaway) {
    let keys = Certificates::new();
    keys.openssl("genrsa -out jwt.key 2048");
    keys.openssl("rsa -in jwt.key -pubout -out jwt.pub");
    let (public, private) = (keys.file("jwt.pub"), keys.file("jwt.key"));
    let ttl = LOGIN.as_secs();
    let token = format!("jwt,pub-key={public},priv-key={private},sign-method=RS256,ttl={ttl}s");
    let etcd = Throwaway::with("http", &["--auth-token", &token]);
    let mut users = Users::of(&etcd, None).await;
    users.add("host1", "geheim").await;
    users.insist().await;
    (keys, etcd)
}

/// As an event, or after a break in the listing.
async fn put_arrives(follow: &mut Follow<Etcd>, third: u8) {
    let wanted = |lease: &Lease| third_of(lease) == third;
    loop {
        match step(follow).await {
            Update::Event(Event::Put(lease)) if wanted(&lease) => break,
            Update::Event(Event::Snapshot(all)) if all.leases.iter().any(wanted) => break,
            Update::Event(_) | Update::Away(_) | Update::Back => {}
            other => panic!("not in this test: {other:?}"),
        }
    }
}

async fn step(follow: &mut Follow<Etcd>) -> Update {
    timeout(PATIENCE, follow.next()).await.expect("it goes on")
}

/// Looks at its files all the time.
fn quick(etcd: &Throwaway, tls: Tls) -> Etcd {
    let (endpoints, reread) = (vec![etcd.url()], Duration::ZERO);
    Etcd::new(&Options { endpoints, tls, reread, ..Options::default() }).unwrap()
}

fn with_user(etcd: &Throwaway, password: Password) -> Etcd {
    let user = Some(User { name: "host1".to_owned(), password });
    Etcd::new(&Options { endpoints: vec![etcd.url()], user, ..Options::default() }).unwrap()
}
