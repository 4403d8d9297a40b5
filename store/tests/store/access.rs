//! Certificates, users and passwords, on an etcd that insists on them.

use std::error::Error as _;
use std::io::Write;
use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;

use crate::certificates::{Certificates, Says};
use crate::support::Throwaway;
use crate::users::Users;
use twill_store::{Error, Etcd, Expected, Options, Password, Store, Tls, User};

#[tokio::test]
async fn an_authority_alone_is_enough() {
    let certificates = Certificates::new();
    let etcd = Throwaway::with_options("https", certificates.server("server"));
    store(&etcd, certificates.client("ca", None)).leases().await.unwrap();
}

#[tokio::test]
async fn what_is_wrong_with_the_connection_is_told_with_a_way_out() {
    let certificates = Certificates::new();
    certificates.sign("over", Says { days: -1, ..Says::default() });
    certificates.sign("elsewhere", Says { address: "IP:192.0.2.1", ..Says::default() });
    let serve = |name| Throwaway::with_options("https", certificates.server(name));
    let (good, over, elsewhere) = (serve("server"), serve("over"), serve("elsewhere"));
    let plain = Throwaway::start();
    let ca = certificates.client("ca", None);
    let as_https = plain.url().replace("http:", "https:");
    let as_http = good.url().replace("https:", "http:");
    let other = certificates.client("other", None);
    let rows = [
        ("another authority", good.url(), other, "UnknownIssuer", "--etcd-cafile"),
        ("the system's", good.url(), Tls::default(), "UnknownIssuer", "--etcd-cafile"),
        ("etcd's is over", over.url(), ca.clone(), "Expired", "renew etcd's own"),
        ("another name", elsewhere.url(), ca.clone(), "not valid for name", "a name that etcd's"),
        ("etcd speaks plain HTTP", as_https, ca.clone(), "", "http://"),
        ("etcd speaks TLS", as_http, ca, "", "https://"),
    ];
    for (name, url, tls, words, way_out) in rows {
        let store = Etcd::new(&Options { endpoints: vec![url], tls, ..Options::default() });
        let error = store.unwrap().leases().await.unwrap_err();
        let source = error.source().unwrap().to_string();
        assert!(error.is_unreachable() && source.contains(words), "{name}: {error}: {source}");
        assert!(error.hint().contains(way_out), "{name}: {source}: {}", error.hint());
    }
}

#[tokio::test]
async fn whoever_hangs_up_may_want_a_certificate_or_no_tls() {
    let certificates = Certificates::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let rude = tokio::spawn(async move {
        // What was not read when it closes becomes a reset.
        while let Ok((caller, _)) = listener.accept().await {
            caller.peek(&mut [0]).await.unwrap();
        }
    });
    let tls = certificates.client("ca", None);
    let store = Etcd::new(&Options { endpoints: vec![url], tls, ..Options::default() }).unwrap();
    let error = store.leases().await.unwrap_err();
    for way_out in ["--etcd-certfile", "http://"] {
        assert!(error.hint().contains(way_out), "{error:?}: {}", error.hint());
    }
    rude.abort();
}

#[tokio::test]
async fn etcd_that_asks_for_a_certificate_gets_ours() {
    let certificates = Certificates::new();
    certificates.sign("client", Says { name: "host1", ..Says::default() });
    certificates.sign("over", Says { name: "host1", days: -1, ..Says::default() });
    certificates.sign("stranger", Says { authority: "other", ..Says::default() });
    let etcd = Throwaway::with_options("https", certificates.strict("server", "ca"));
    store(&etcd, certificates.client("ca", Some("client"))).leases().await.unwrap();
    let rows = [
        ("none at all", certificates.client("ca", None)),
        ("one that is over", certificates.client("ca", Some("over"))),
        ("one of another authority", certificates.client("ca", Some("stranger"))),
    ];
    for (name, tls) in rows {
        let error = store(&etcd, tls).leases().await.unwrap_err();
        let source = error.source().unwrap();
        assert!(error.is_unreachable(), "{name}: {error:?}");
        assert!(error.hint().contains("--etcd-certfile"), "{name}: {source}: {}", error.hint());
    }
}

#[tokio::test]
async fn the_name_in_a_certificate_is_a_user() {
    let certificates = Certificates::new();
    for name in ["root", "host1", "host2"] {
        certificates.sign(name, Says { name, ..Says::default() });
    }
    let etcd = Throwaway::with_options("https", certificates.strict("server", "ca"));
    let as_root = certificates.client("ca", Some("root"));
    let mut users = Users::of(&etcd, Some(&as_root)).await;
    users.add("host1", "unused").await;
    users.insist().await;
    let host = |name| store(&etcd, certificates.client("ca", Some(name)));
    host("host1").write_config("{}", Expected::Nothing).await.unwrap();
    let error = host("host2").config().await.unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "etcd does not know that one: {error:?}");
}

#[tokio::test]
async fn a_password_travels_over_tls() {
    let certificates = Certificates::new();
    let etcd = Throwaway::with_options("https", certificates.server("server"));
    let tls = certificates.client("ca", None);
    let mut users = Users::of(&etcd, Some(&tls)).await;
    users.add("host1", "geheim").await;
    users.insist().await;
    certificates.write("password", "geheim\n\nnobody reads this\n");
    let with = |password| {
        let user = Some(User { name: "host1".to_owned(), password });
        let endpoints = vec![etcd.url()];
        Etcd::new(&Options { endpoints, user, tls: tls.clone(), ..Options::default() }).unwrap()
    };
    with(Password::File(certificates.path("password"))).leases().await.unwrap();
    with(Password::Word("geheim".to_owned())).leases().await.unwrap();
    let error = with(Password::Word("wrong".to_owned())).leases().await.unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error:?}");
}

/// All of it, of all crates: more than `twilld --v 2` prints.
#[tokio::test]
async fn no_log_line_and_no_error_has_the_password() {
    let etcd = Throwaway::start();
    let mut users = Users::of(&etcd, None).await;
    users.add("host1", "geheim").await;
    users.insist().await;
    let lines = Lines::default();
    let written = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || written.clone())
        .finish();
    // For this thread, which runs everything that this test starts.
    let _quiet_at_the_end = tracing::subscriber::set_default(subscriber);
    let with = |word: &str| {
        let password = Password::Word(word.to_owned());
        let user = Some(User { name: "host1".to_owned(), password });
        let endpoints = vec![etcd.url()];
        Etcd::new(&Options { endpoints, user, ..Options::default() }).unwrap()
    };
    let store = with("geheim");
    store.leases().await.unwrap();
    let error = with("geheim, and wrong").leases().await.unwrap_err();
    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("h2::"), "nothing was written down: {log}");
    for text in [log, format!("{store:?}"), format!("{error:?} {error} {}", error.hint())] {
        assert!(!text.contains("geheim"), "{text}");
    }
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn whoever_has_a_name_may_come_where_nobody_needs_one() {
    let etcd = Throwaway::start();
    let password = Password::Word("geheim".to_owned());
    let user = Some(User { name: "host1".to_owned(), password });
    let endpoints = vec![etcd.url()];
    let store = Etcd::new(&Options { endpoints, user, ..Options::default() }).unwrap();
    store.leases().await.unwrap();
    // And goes on when names begin to matter.
    let mut users = Users::of(&etcd, None).await;
    users.add("host1", "geheim").await;
    users.insist().await;
    store.leases().await.unwrap();
}

#[test]
fn files_are_checked_before_anything_is_tried() {
    let certificates = Certificates::new();
    certificates.write("empty", "");
    let tls = |ca: &str, cert: &str, key: &str| Tls {
        ca_file: Some(certificates.path(ca)),
        cert_file: Some(certificates.path(cert)),
        key_file: Some(certificates.path(key)),
    };
    let rows = [
        ("no authority", tls("empty", "server.pem", "server.key"), "there is no certificate in"),
        ("no certificate", tls("ca.pem", "ca.key", "ca.key"), "there is no certificate in"),
        ("no key", tls("ca.pem", "ca.pem", "ca.pem"), "there is no private key in"),
        ("not its key", tls("ca.pem", "server.pem", "ca.key"), "cannot use the certificate in"),
    ];
    for (name, tls, words) in rows {
        let error = Etcd::new(&Options { tls, ..Options::default() }).unwrap_err();
        assert!(error.to_string().starts_with(words), "{name}: {error}");
        assert!(!error.hint().is_empty());
    }
    let password = Password::File(certificates.path("empty"));
    let user = Some(User { name: "host1".to_owned(), password });
    let error = Etcd::new(&Options { user, ..Options::default() }).unwrap_err();
    assert!(error.to_string().contains("should be a password"), "{error}");
}

fn store(etcd: &Throwaway, tls: Tls) -> Etcd {
    Etcd::new(&Options { endpoints: vec![etcd.url()], tls, ..Options::default() }).unwrap()
}
