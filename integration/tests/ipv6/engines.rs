//! An agent that is started again with another engine of the firewall, under flows of both families.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use nix::sys::signal::Signal;
use twill_integration::{Host, may_build_labs, pace, wait_until, within};

use super::alone::LIMIT;
use super::dual::{container, fabric};

/// So many datagrams of each flow after each start.
const SOME: usize = 50;

/// Often enough to meet a gap that a person would notice, and leaves the machine to the agents.
const PACE: Duration = Duration::from_millis(2);

#[test]
fn no_datagram_is_lost_while_engines_change() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut fabric = fabric()?;
    let init = ["network", "init", "--network", "10.88.0.0/16", "--ipv6-network", "fd00:88::/48"];
    fabric.ctl(&[&init[..], &["--force", "--backend", "vxlan"]].concat())?;
    let agents =
        |engine: &str| ["--iface=eth0".into(), "--ip-masq".into(), format!("--firewall={engine}")];
    fabric.give_agents(&agents("iptables"));
    fabric.start_agents(1..=2)?;
    fabric.knows(1, 2)?;
    fabric.knows(2, 2)?;
    let ends = [container(fabric.node(1))?, container(fabric.node(2))?];
    let netns = [1, 2].map(|number| fabric.node(number).path("/run/netns/c0"));
    let outside = fabric.lab().underlay();
    outside.ok(["ip", "address", "add", "fd00:140::fe/64", "dev", "br0", "nodad"])?;

    let mut knocks = Vec::new();
    let [near, far] = &ends;
    let ipv6 = near.ipv6.as_ref().zip(far.ipv6.as_ref()).context("no IPv6")?;
    for (near, far) in [(&near.ipv4, &far.ipv4), ipv6] {
        let (near, far): (IpAddr, IpAddr) = (near.parse()?, far.parse()?);
        // From the other host in, where the policy is DROP, and to the world, masqueraded.
        let here = within(&netns[0], || Ok(UdpSocket::bind((near, 0))?))?;
        knocks.push(Knock::start(here, &netns[1], far)?);
        let router: IpAddr =
            if near.is_ipv4() { "192.168.140.1".parse()? } else { "fd00:140::fe".parse()? };
        let there = outside.within(|| Ok(UdpSocket::bind((router, 0))?))?;
        knocks.push(Knock::start(there, &netns[0], near)?);
    }
    for engine in ["nftables", "iptables", "nftables"] {
        fabric.stop_agent(1, Signal::SIGTERM)?;
        fabric.give_agents(&agents(engine));
        fabric.start_agent(1)?;
        let before: Vec<usize> = knocks.iter().map(Knock::count).collect();
        let more =
            || knocks.iter().zip(&before).all(|(knock, before)| knock.count() > before + SOME);
        let goes_on = wait_until(&format!("all flows go on with {engine}"), LIMIT, more);
        if goes_on.is_err() {
            // One that does not says itself what it met.
            knocks.into_iter().try_for_each(Knock::stop)?;
            return goes_on.map(drop);
        }
        alone_has_rules(fabric.node(1), engine)?;
    }
    knocks.into_iter().try_for_each(Knock::stop)?;
    fabric.finish()
}

/// What the former engine wrote goes when the new one's rules stand.
fn alone_has_rules(host: &Host, engine: &str) -> Result<()> {
    let look = || host.sh("nft list tables; iptables-save; ip6tables-save");
    let alone = || {
        look().is_ok_and(|found| {
            found.contains("inet twill") == (engine == "nftables")
                && found.contains("FLANNEL-POSTRTG") == (engine == "iptables")
        })
    };
    if let Err(limit) = wait_until(&format!("{engine} alone has rules"), LIMIT, alone) {
        bail!("{limit}: {}", look()?);
    }
    Ok(())
}

/// Datagrams from fresh sockets to one that answers each, one at a time.
struct Knock {
    done: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    threads: [JoinHandle<Result<()>>; 2],
}

impl Knock {
    fn start(answers: UdpSocket, netns: &Path, from: IpAddr) -> Result<Self> {
        let (done, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let to = answers.local_addr()?;
        let netns = netns.to_owned();
        let answering = thread::spawn({
            let done = Arc::clone(&done);
            move || answer(&answers, &done)
        });
        let knocking = thread::spawn({
            let (done, count) = (Arc::clone(&done), Arc::clone(&count));
            move || within(&netns, || knock(from, to, &done, &count))
        });
        Ok(Self { done, count, threads: [answering, knocking] })
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn stop(self) -> Result<()> {
        self.done.store(true, Ordering::Relaxed);
        self.threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_panic| anyhow!("a thread panicked"))?)
    }
}

fn answer(socket: &UdpSocket, done: &AtomicBool) -> Result<()> {
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    let mut buffer = [0; 16];
    while !done.load(Ordering::Relaxed) {
        if let Ok((length, whom)) = socket.recv_from(&mut buffer) {
            socket.send_to(&buffer[..length], whom)?;
        }
    }
    Ok(())
}

fn knock(from: IpAddr, to: SocketAddr, done: &AtomicBool, count: &AtomicUsize) -> Result<()> {
    while !done.load(Ordering::Relaxed) {
        let fresh = UdpSocket::bind((from, 0))?;
        fresh.set_read_timeout(Some(Duration::from_secs(3)))?;
        fresh.send_to(b"knock", to)?;
        pace(PACE);
        let number = count.load(Ordering::Relaxed);
        fresh
            .recv_from(&mut [0; 16])
            .with_context(|| format!("datagram {number} from {from} to {to} was not answered"))?;
        count.store(number + 1, Ordering::Relaxed);
    }
    Ok(())
}
