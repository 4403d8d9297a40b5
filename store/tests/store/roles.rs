//! The roles that docs/operations.md tells administrators to make are enough, and no more.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::{PATIENCE, Throwaway, command};
use crate::world::{again, bid, node, record, subnet, value, won};
use tempfile::TempDir;
use tokio::time::timeout;
use twill_core::ids::{NodeId, Underlay};
use twill_core::ownership::Challenge;
use twill_store::{
    Asked, Bid, Error, Etcd, Expected, Options, Password, Renewal, Reserve, Revoked, Rewritten,
    Scope, Store, Times, User, Watch, Written,
};

const PAGE: &str = include_str!("../../../docs/operations.md");
const TTL: Duration = Duration::from_mins(1);

/// Everything that an agent does: see `Store`, and who calls what of it.
#[tokio::test]
async fn the_role_of_a_host_is_enough_for_its_agent_and_no_more() {
    let (_dir, etcd) = as_documented();
    let (admin, host) = (user(&etcd, "admin"), user(&etcd, "node1"));
    let Written::Done(config) = admin.write_config("{}", Expected::Nothing).await.unwrap() else {
        panic!("nobody was there before")
    };

    let picture = host.picture(node(1)).await.unwrap();
    let mut watch = host.watch(picture.listing.revision, Scope::Host(node(1))).await.unwrap();
    let wish = Bid { config: Some(config), record: Some(record(1)), ..bid(7, 1) };
    let held = won(host.claim(&wish).await.unwrap());
    timeout(PATIENCE, watch.next()).await.expect("it hears of its own lease").unwrap();
    host.keep_alive(&held).await.unwrap();
    let moved = record(1);
    let held = won(host.renew(Renewal { record: Some(&moved), ..again(&held) }).await.unwrap());
    assert_eq!(host.nodes().await.unwrap().records, [record(1)]);
    assert!(matches!(ask(&host, node(1)).await, Asked::Placed(..)));
    let question = host.picture(node(1)).await.unwrap().question.unwrap();
    host.answer(node(1), &question).await.unwrap();
    assert_eq!(host.revoke(&held.lease).await.unwrap(), Revoked::Gone);

    denied("the configuration", host.write_config("{}", Expected::Anything).await);
    let elsewhere = Options { prefix: "/elsewhere".to_owned(), ..options(&etcd, "node1") };
    denied("another network", Etcd::new(&elsewhere).unwrap().leases().await);
    // What the page admits: subnets are not told apart.
    let other = won(admin.claim(&bid(8, 2)).await.unwrap());
    assert_eq!(host.revoke(&other.lease).await.unwrap(), Revoked::Gone);
}

#[tokio::test]
async fn the_role_of_an_administrator_is_enough_for_twillctl() {
    let (_dir, etcd) = as_documented();
    let admin = user(&etcd, "admin");
    admin.write_config("{}", Expected::Nothing).await.unwrap();
    let held = won(user(&etcd, "node1").claim(&bid(7, 1)).await.unwrap());
    let ids: Vec<_> = held.lease.lease_id.into_iter().collect();
    assert_eq!(admin.lives(&ids).await.unwrap().len(), 1);
    admin.presences().await.unwrap();
    admin.inspect(held.lease.key).await.unwrap().expect("it is there");
    admin.nodes().await.unwrap();
    admin.watch(held.lease.revision, Scope::Leases).await.unwrap();
    let config = admin.config().await.unwrap().unwrap().revision;
    let wish = Reserve::New { key: subnet(9).into(), value: &value(9, 3), config };
    let Rewritten::Done(reserved) = admin.reserve(wish).await.unwrap() else {
        panic!("it was free")
    };
    admin.release(&reserved, TTL).await.unwrap();
    assert_eq!(admin.revoke(&held.lease).await.unwrap(), Revoked::Gone);
    let elsewhere = Options { prefix: "/elsewhere".to_owned(), ..options(&etcd, "admin") };
    denied("another network", Etcd::new(&elsewhere).unwrap().leases().await);
}

/// An etcd on which somebody typed what the page says.
fn as_documented() -> (TempDir, Throwaway) {
    let etcd = Throwaway::start();
    let dir = tempfile::tempdir().unwrap();
    for file in ["node1-password", "admin-password", "root-password"] {
        std::fs::write(dir.path().join(file), "geheim\n").unwrap();
    }
    let (_before, rest) = PAGE.split_once("<!-- roles in etcd -->").expect("the page has the mark");
    let (_mark, block) = rest.split_once("```sh\n").expect("a block follows the mark");
    let (block, _after) = block.split_once("```").expect("the block ends");
    let output =
        sh(dir.path(), &format!("set -eu\n{block}")).env("ETCDCTL_ENDPOINTS", etcd.url()).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (dir, etcd)
}

fn sh(dir: &Path, script: &str) -> Command {
    let mut sh = command("sh");
    sh.args(["-c", script]).current_dir(dir).env("ETCDCTL_API", "3");
    sh
}

fn options(etcd: &Throwaway, name: &str) -> Options {
    let password = Password::Word("geheim".to_owned());
    let user = Some(User { name: name.to_owned(), password });
    Options { endpoints: vec![etcd.url()], user, ..Options::default() }
}

fn user(etcd: &Throwaway, name: &str) -> Etcd {
    Etcd::new(&options(etcd, name)).unwrap()
}

async fn ask(store: &Etcd, node: NodeId) -> Asked {
    let public_ip = Underlay([192, 0, 2, 1].into());
    let challenge = Challenge { public_ip, hostname: "node1".to_owned(), answer: None };
    store.ask(node, &challenge, TTL).await.unwrap()
}

fn denied<T: std::fmt::Debug>(what: &str, answer: Result<T, Error>) {
    let error = answer.expect_err(what);
    assert!(matches!(error, Error::Denied { .. }), "{what}: {error:?}");
    assert!(error.hint().contains("role"), "{what}: {}", error.hint());
}
