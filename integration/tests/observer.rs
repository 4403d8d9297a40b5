//! The observer, and the etcd of three members that it reads: that a test which relies on them can
//! fail.

use anyhow::{Result, bail, ensure};
use twill_integration::fabric::Fabric;
use twill_integration::may_build_labs;
use twill_integration::observer::Observer;

const A: &str = "/coreos.com/network/subnets/10.88.1.0-24";
const B: &str = "/coreos.com/network/subnets/10.88.2.0-24";

#[test]
fn no_theft_escapes_the_observer_whatever_befalls_etcd() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut fabric = Fabric::bare(3)?;
    let network = fabric.lab().underlay().network_of(1);
    let endpoints = ["http://192.168.140.22:2379", "http://192.168.140.23:2379"].map(str::to_owned);
    // It may be there before etcd is.
    let observer = Observer::start(&network, &endpoints);
    fabric.start_cluster()?;
    let cluster = fabric.cluster()?;
    put(&*cluster, (A, 1))?;
    observer.reach(cluster.revision()?)?;

    cluster.kill(1)?;
    // It may have led, and what is written before another does may be lost with it.
    cluster.leader_other_than(1)?;
    put(&*cluster, (B, 2))?;
    observer.reach(cluster.revision()?)?;
    cluster.restart(1)?;
    let leader = cluster.leader()?;
    cluster.cut_off(leader)?;
    cluster.leader_other_than(leader)?;
    put(&*cluster, (A, 1))?;
    observer.reach(cluster.revision()?)?;
    cluster.reconnect(leader)?;
    cluster.compact(cluster.revision()?)?;
    ensure!(observer.ledger().tally().renewed == 1, "{:?}", observer.ledger().tally());

    cluster.save("copy.db")?;
    put(&*cluster, (A, 2))?;
    let theft = observer.reach(cluster.revision()?);
    says(theft, "10.88.1.0-24 of 0101")?;

    cluster.restore("copy.db")?;
    observer.follows_restore(1)?;
    says(observer.check(), "nobody announced it")?;
    ensure!(observer.ledger().held().len() == 2, "the copy has two leases");
    put(&*cluster, (A, 1))?;
    put(&*cluster, (B, 1))?;
    says(observer.finish(cluster.revision()?), "after restore 1: 10.88.2.0-24 of 0202")?;
    fabric.finish()
}

fn put(cluster: &twill_integration::etcd::Cluster, (key, owner): (&str, u8)) -> Result<()> {
    let node = format!("{owner:02x}").repeat(16);
    let value =
        format!(r#"{{"PublicIP":"192.0.2.{owner}","PublicIPv6":null,"TwillNodeID":"{node}"}}"#);
    cluster.ctl(&["put", key, &value]).map(drop)
}

fn says<T>(result: Result<T>, words: &str) -> Result<()> {
    match result {
        Err(error) if format!("{error:#}").contains(words) => Ok(()),
        Err(error) => bail!("it does not say `{words}`: {error:#}"),
        Ok(_) => bail!("nothing was wrong, where it should say `{words}`"),
    }
}
