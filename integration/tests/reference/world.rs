//! The two hosts.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};
use twill_integration::container::Endpoint;
use twill_integration::fabric::{Backend, Fabric};
use twill_integration::{Host, cni, wait_until};

use crate::peer::{DEVICE, MTU, Peer, Seen};

const OURS: Ipv4Addr = Ipv4Addr::new(192, 168, 140, 22);
const THEIRS: Ipv4Addr = Ipv4Addr::new(192, 168, 140, 23);
const LIMIT: Duration = Duration::from_secs(20);

/// See the crate's own words.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) ours: Endpoint,
    pub(crate) theirs: Endpoint,
    pub(crate) peer: Peer,
    pub(crate) fabric: Fabric,
}

impl World {
    /// Our host has the backend `udp`, by the shortcut or not.
    pub(crate) fn new(backend: Backend) -> Result<Self> {
        let mut fabric = Fabric::bare(2)?;
        fabric.start_etcd()?;
        fabric.give_agents(backend.options());
        fabric.init_network(backend)?;
        let theirs = fabric.node(2).clone();
        lease(fabric.node(1))?;
        fabric.start_agent(1)?;
        fabric.knows(1, 1)?;
        let peer = Peer::start(&theirs, (THEIRS, OURS)).context("no reference peer")?;
        let theirs = attach(&theirs)?;
        let ours = Endpoint::pod(fabric.node(1), "ours")?;
        wait_until("packets pass", LIMIT, || ours.ping_with(theirs.address, &["-c", "1"]).is_ok())?;
        Ok(Self { ours, theirs, peer, fabric })
    }

    /// Takes everything down; answers what the reference peer has seen, if all of it was right.
    pub(crate) fn finish(self) -> Result<Seen> {
        let Self { ours, peer, fabric, .. } = self;
        let seen = peer.finish()?;
        cni(&ours.host, "DEL", &ours.name)?;
        fabric.finish()?;
        Ok(seen)
    }
}

/// As flanneld writes it: without a word about the backend, and for a day.
fn lease(etcd: &Host) -> Result<()> {
    let key = "/coreos.com/network/subnets/10.88.77.0-24";
    let value = format!(r#"{{"PublicIP":"{THEIRS}","PublicIPv6":null}}"#);
    let script = format!(
        "export ETCDCTL_API=3 && id=$(etcdctl lease grant 86400 | cut -d' ' -f2) && \
         etcdctl put --lease=$id {key} '{value}'"
    );
    etcd.sh(&script).map(drop)
}

/// Routes and a container on the reference peer's host.
fn attach(host: &Host) -> Result<Endpoint> {
    host.sh(&format!(
        "ip address add 10.88.77.0/32 dev {DEVICE} && ip link set {DEVICE} mtu {MTU} up && \
         ip route add 10.88.0.0/16 dev {DEVICE} && iptables -P FORWARD ACCEPT && \
         echo 1 >/proc/sys/net/ipv4/ip_forward && ip netns add theirs && \
         ip link add c0 mtu {MTU} type veth peer name eth0 mtu {MTU} netns theirs && \
         ip address add 10.88.77.1/24 dev c0 && ip link set c0 up && \
         ip -n theirs link set lo up && ip -n theirs address add 10.88.77.2/24 dev eth0 && \
         ip -n theirs link set eth0 up && ip -n theirs route add default via 10.88.77.1"
    ))?;
    Ok(Endpoint {
        host: host.clone(),
        name: "theirs".to_owned(),
        address: [10, 88, 77, 2].into(),
        ipv6: None,
        network: "/run/netns/theirs".to_owned(),
    })
}
