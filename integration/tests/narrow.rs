//! A router between two hosts that carries less than their interfaces do.
//!
//! ```text
//!  node1 ──1500──► node3 ──1400──► node2        and the same back
//! ```
//!
//! All three are on one link; the way over the third is a route, and so is what it carries.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use twill_integration::container::Endpoint;
use twill_integration::fabric::{Backend, Fabric};
use twill_integration::{Host, flow, may_build_labs, wait_until};

const ONE: &str = "192.168.140.22";
const TWO: &str = "192.168.140.23";
const ROUTER: &str = "192.168.140.24";
/// What the way over the router carries.
const NARROW: usize = 1400;
/// What the other host's bridge carries in the end.
const FAR: usize = 1200;
const MIB: u64 = 1 << 20;
const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn vxlan_over_a_narrow_way() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    Way::new(Backend::Vxlan)?.tell()
}

#[test]
fn udp_over_a_narrow_way() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    Way::new(Backend::Udp)?.tell()
}

#[test]
fn shortcut_over_a_narrow_way() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    Way::new(Backend::UdpShortcut)?.tell()
}

/// Two hosts with a container each, and the router between them.
struct Way {
    fabric: Fabric,
    backend: Backend,
    web: Endpoint,
    other: Endpoint,
}

impl Way {
    fn new(backend: Backend) -> Result<Self> {
        let mut fabric = Fabric::start(2, backend)?;
        let router = fabric.add_host()?;
        let (one, two) = (fabric.node(1), fabric.node(2));
        router.sh("cd /proc/sys/net/ipv4 && echo 1 >ip_forward && iptables -P FORWARD ACCEPT &&
             echo 0 >conf/all/send_redirects && echo 0 >conf/eth0/send_redirects")?;
        for (host, peer) in [(one, TWO), (two, ONE)] {
            router.sh(&format!("ip route add {peer}/32 dev eth0 mtu {NARROW}"))?;
            host.sh(&format!("ip route add {peer}/32 via {ROUTER}"))?;
        }
        let web = Endpoint::container(one, "web", &["sleep", "10000"])?;
        let other = Endpoint::container(two, "other", &["sleep", "10000"])?;
        Ok(Self { fabric, backend, web, other })
    }

    fn tell(self) -> Result<()> {
        let router = self.fabric.node(3).clone();
        // Nobody knows: the router cuts.
        let before = cuts(&router)?;
        self.whole(self.backend.mtu())?;
        ensure!(cuts(&router)? > before, "nothing was too long for the router");
        self.transfer(64 * MIB)?;
        // Nor does the router tell anybody.
        router.sh("iptables -A OUTPUT -p icmp -j DROP")?;
        self.whole(self.backend.mtu())?;
        self.transfer(8 * MIB)?;
        self.everybody_knows()?;
        self.the_far_end_tells()?;
        let Self { fabric, web, other, .. } = self;
        web.remove_container()?;
        other.remove_container()?;
        fabric.finish()
    }

    /// The hosts' own routes say what the way carries: nothing is cut any more.
    fn everybody_knows(&self) -> Result<()> {
        let inner = self.backend.mtu() - (1500 - NARROW);
        for (number, peer, container) in [(1, TWO, &self.other), (2, ONE, &self.web)] {
            let host = self.fabric.node(number);
            host.sh(&format!("ip route change {peer}/32 via {ROUTER} mtu {NARROW}"))?;
            let (to, word) = (container.address, format!("mtu {inner} "));
            let follows =
                || host.sh(&format!("ip route get {to}")).is_ok_and(|route| route.contains(&word));
            wait_until(&format!("node{number}'s route has {word}"), LIMIT, follows)?;
        }
        let hosts = || (1..=3).map(|number| cuts(self.fabric.node(number))).sum::<Result<u64>>();
        let before = hosts()?;
        self.whole(inner)?;
        self.transfer(64 * MIB)?;
        ensure!(hosts()? == before, "{} packets were cut", hosts()? - before);
        // One byte more; 28 bytes are headers.
        let payload = (inner + 1 - 28).to_string();
        let flags = ["-M", "do", "-c", "1", "-W", "3", "-s", &payload];
        let told = self.web.ping_with(self.other.address, &flags);
        let told = told.err().map(|error| format!("{error:#}")).unwrap_or_default();
        ensure!(told.contains(&format!("mtu = {inner}")), "the container is told: {told}");
        Ok(())
    }

    /// What the other host has to say about a packet comes back through the tunnel, to the container.
    fn the_far_end_tells(&self) -> Result<()> {
        let (two, to) = (self.fabric.node(2), self.other.address);
        let own = two.sh(&format!("ip -o route show table main match {to} dev twill0"))?;
        let own = own.lines().find(|route| route.contains("proto kernel")).context("no bridge")?;
        two.sh(&format!("ip route change {own} dev twill0 mtu {FAR}"))?;
        let payload = (FAR + 1 - 28).to_string();
        let told = self.web.ping_with(to, &["-M", "do", "-c", "1", "-W", "3", "-s", &payload]);
        let told = told.err().map(|error| format!("{error:#}")).unwrap_or_default();
        ensure!(told.contains(&format!("mtu = {FAR}")), "the container is told: {told}");
        self.web.ping_whole(to, FAR)
    }

    /// Packets of that size that containers forbid to cut arrive, both ways.
    fn whole(&self, size: usize) -> Result<()> {
        self.web.ping_whole(self.other.address, size).context("from node1")?;
        self.other.ping_whole(self.web.address, size).context("from node2")
    }

    fn transfer(&self, bytes: u64) -> Result<()> {
        flow::transfer(&self.web, &self.other, bytes).context("from node1")?;
        flow::transfer(&self.other, &self.web, bytes).context("from node2").map(drop)
    }
}

/// How many pieces the host has made of packets that were too long (RFC 4293, `ipSystemStatsOutFragCreates`).
fn cuts(host: &Host) -> Result<u64> {
    let table = host.sh("grep ^Ip: /proc/net/snmp")?;
    let (names, values) = table.trim().split_once('\n').context("two lines")?;
    let mut columns = names.split_whitespace().zip(values.split_whitespace());
    let column = columns.find(|(name, _value)| *name == "FragCreates");
    Ok(column.context("the kernel counts no pieces")?.1.parse()?)
}
