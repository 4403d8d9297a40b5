//! A router between two hosts that carries less than their interfaces do, by IPv6: it cuts nothing.
//!
//! ```text
//!  node1 ──1500──► node3 ──1400──► node2        and the same back
//! ```

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;

use anyhow::{Context as _, Result, anyhow, ensure};
use twill_integration::fabric::Fabric;
use twill_integration::{Host, may_build_labs, wait_until, within};

use super::alone::{LIMIT, UDP, VXLAN, World, both_ways, container};

/// What the way over the router carries.
const NARROW: u32 = 1400;
const ROUTER: &str = "fd00:140::3";
const BYTES: usize = 8 << 20;

#[test]
fn vxlan() -> Result<()> {
    network(&VXLAN)
}

#[test]
fn udp() -> Result<()> {
    network(&UDP)
}

fn network(&World { backend, mtu, .. }: &World) -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut fabric = Fabric::bare_of_both(3)?;
    let hosts = [1, 2].map(|number| fabric.node(number).clone());
    let router = fabric.node(3).clone();
    router.sh("ip6tables -P FORWARD ACCEPT && echo 1 >/proc/sys/net/ipv6/conf/all/forwarding")?;
    for (host, peer) in hosts.iter().zip([2, 1]) {
        // Or the router says that there is a shorter way.
        host.sh("echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_redirects")?;
        host.sh(&format!("ip -6 route add fd00:140::{peer}/128 via {ROUTER}"))?;
        router.sh(&format!("ip -6 route add fd00:140::{peer}/128 dev eth0 mtu {NARROW}"))?;
    }
    fabric.give_agents(&["--iface=eth0", "--ip-masq"]);
    fabric.start_etcd()?;
    let init = ["network", "init", "--force", "--network", "fd00:88::/48", "--backend", backend];
    fabric.ctl(&init)?;
    for number in 1..=2 {
        fabric.start_agent(number)?;
    }
    fabric.meet(2)?;
    let ends = [container(&hosts[0])?, container(&hosts[1])?];
    let [one, two] = [0, 1].map(|end| End { host: &hosts[end], address: &ends[end] });

    // The router says what it carries, to the host that sent the outer packet.
    for (from, to) in [(&one, &two), (&two, &one)] {
        from.datagram(to, mtu).context("the router tells")?;
        from.transfer(to).context("the router tells")?;
    }

    // It says nothing any more, and what it said is forgotten: the host's own route has to say it.
    router.sh("ip6tables -A OUTPUT -p icmpv6 --icmpv6-type packet-too-big -j DROP")?;
    let inner = mtu - (1500 - NARROW);
    for (End { host, .. }, peer, far) in [(&one, 2, &two), (&two, 1, &one)] {
        host.sh("ip -6 route flush cache && ip -n c0 -6 route flush cache")?;
        host.sh(&format!("ip -6 route change fd00:140::{peer}/128 via {ROUTER} mtu {NARROW}"))?;
        let look = || host.sh(&format!("ip -6 route get {}", far.address)).unwrap_or_default();
        let what = format!("{}'s route has an mtu of {inner}", host.name());
        let follows = wait_until(&what, LIMIT, || look().contains(&format!("mtu {inner} ")));
        ensure!(follows.is_ok(), "{what}: {}", look());
    }
    for (from, to) in [(&one, &two), (&two, &one)] {
        both_ways(from.host, to.address, inner)?;
        from.transfer(to).context("the router is silent")?;
        // One byte more; 48 bytes are headers.
        let ping = format!(
            "ip netns exec c0 ping -6 -c 1 -W 3 -M do -s {} {} || true",
            inner + 1 - 48,
            to.address
        );
        let told = from.host.sh(&ping)?;
        let too_big = format!("Packet too big: mtu={inner}");
        ensure!(told.contains(&too_big), "the container is told {too_big}: {told}");
    }
    fabric.finish()
}

/// A container.
struct End<'a> {
    host: &'a Host,
    address: &'a str,
}

impl End<'_> {
    fn within<T: Send>(&self, work: impl FnOnce(IpAddr) -> Result<T> + Send) -> Result<T> {
        let address = self.address.parse()?;
        within(&self.host.path("/run/netns/c0"), || work(address))
    }

    /// A stream at full speed arrives whole.
    fn transfer(&self, to: &End<'_>) -> Result<()> {
        let listener = to.within(|address| Ok(TcpListener::bind((address, 0))?))?;
        let there = listener.local_addr()?;
        let mut sender = self.within(|_own| Ok(TcpStream::connect_timeout(&there, LIMIT)?))?;
        let (mut receiver, _whom) = listener.accept()?;
        receiver.set_read_timeout(Some(LIMIT))?;
        sender.set_write_timeout(Some(LIMIT))?;
        let sends = thread::spawn(move || sender.write_all(&vec![7; BYTES]));
        let mut found = Vec::new();
        receiver.read_to_end(&mut found).context("the stream stands still")?;
        sends.join().map_err(|_panic| anyhow!("the sender panicked"))??;
        ensure!(found.len() == BYTES, "{} of {BYTES} bytes arrived", found.len());
        Ok(())
    }

    /// A datagram that fills the interface arrives, once its sender was told to cut it.
    fn datagram(&self, to: &End<'_>, mtu: u32) -> Result<()> {
        let receiver = to.within(|address| Ok(UdpSocket::bind((address, 9))?))?;
        let sender = self.within(|address| Ok(UdpSocket::bind((address, 0))?))?;
        receiver.set_nonblocking(true)?;
        let there = receiver.local_addr()?;
        let payload = vec![7; mtu as usize - 48];
        let name = self.host.name();
        wait_until(&format!("{name}: a datagram of {mtu} bytes arrives"), LIMIT, || {
            // Told that it is too long, in place of sending: the next one is cut.
            _ = sender.send_to(&payload, there);
            receiver.recv(&mut vec![0; 2000]).is_ok_and(|length| length == payload.len())
        })
        .map(drop)
    }
}
