//! A container takes what belongs to another one on its bridge.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use twill_core::ids::Mac;
use twill_endpoint::{Attachment, Request};
use twill_net::blocking::{Address, Kernel, LinkChange};
use twill_net::netns::Netns;

use crate::world::{World, eventually, owner, request, talk};

const SUBNET: &str = "10.88.2.1/24";
const MOVED: &str = "10.88.3.1/24";
/// An address of `SUBNET` that no container has.
const FREE: Ipv4Addr = Ipv4Addr::new(10, 88, 2, 77);
/// Outside of the host's subnet: of a network inside the container, or one that it shares with others.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const LIMIT: Duration = Duration::from_secs(10);

/// A container that takes what is another's, joined to the host's subnet.
struct Thief {
    netns: Netns,
    joined: Attachment,
}

impl Thief {
    fn new(world: &World, spoof_check: bool) -> Self {
        let (netns, joined) = join(world, "thief", spoof_check);
        Self { netns, joined }
    }

    fn take(&self, address: Ipv4Addr) {
        let mut inside = Kernel::of(&self.netns).unwrap();
        let link = inside.link("eth0").unwrap().unwrap().index;
        inside.ensure_address(Address { link, address, prefix_length: 32 }).unwrap();
    }

    fn set_mac(&self, mac: Mac) {
        let mut inside = Kernel::of(&self.netns).unwrap();
        let link = inside.link("eth0").unwrap().unwrap().index;
        inside.change_link(link, &LinkChange { mac: Some(mac), ..LinkChange::default() }).unwrap();
    }

    /// Which packets the gateway hears of those that are sent from `sources`, one after another, and
    /// then from `own`.
    fn heard(&self, (own, gateway): (Ipv4Addr, Ipv4Addr), sources: &[Ipv4Addr]) -> Vec<Ipv4Addr> {
        let host = UdpSocket::bind((gateway, 0)).unwrap();
        host.set_read_timeout(Some(LIMIT)).unwrap();
        let to = host.local_addr().unwrap();
        let hear = || match host.recv_from(&mut [0; 8]).unwrap().1 {
            SocketAddr::V4(from) => *from.ip(),
            SocketAddr::V6(from) => panic!("{from}"),
        };
        // The first finds out where the gateway is. All take one way, so that what was not heard before
        // the last was dropped.
        self.send(own, to);
        assert_eq!(hear(), own);
        for source in sources.iter().chain([&own]) {
            self.send(*source, to);
        }
        let mut heard = vec![hear()];
        while heard.last() != Some(&own) {
            heard.push(hear());
        }
        heard
    }

    fn send(&self, source: Ipv4Addr, to: SocketAddr) {
        let sent = self.netns.run(|| UdpSocket::bind((source, 0))?.send_to(b"x", to));
        assert_eq!(sent.unwrap().unwrap(), 1);
    }
}

fn join(world: &World, name: &str, spoof_check: bool) -> (Netns, Attachment) {
    let netns = world.container();
    // So that nothing speaks but the test.
    let switch = "/proc/sys/net/ipv6/conf/all/disable_ipv6";
    if netns.run(|| fs::exists(switch)).unwrap().unwrap() {
        netns.run(|| fs::write(switch, "1")).unwrap().unwrap();
    }
    let wish = Request { spoof_check, ..request(name, &netns) };
    let joined = world.host.attach(&wish).unwrap();
    (netns, joined)
}

#[test]
fn packets_from_anothers_address_are_dropped() {
    for spoof_check in [true, false] {
        let Some(world) = World::new(SUBNET) else { return };
        let thief = Thief::new(&world, spoof_check);
        let (_victim, victims) = join(&world, "victim", spoof_check);
        for address in [victims.address, FREE, ELSEWHERE] {
            thief.take(address);
        }
        let (gateway, own) = (thief.joined.gateway, thief.joined.address);
        let heard = thief.heard((own, gateway), &[victims.address, FREE, ELSEWHERE]);
        let stolen = if spoof_check { vec![] } else { vec![victims.address, FREE] };
        assert_eq!(heard, [stolen, vec![ELSEWHERE, own]].concat(), "check: {spoof_check}");
    }
}

#[test]
fn nobody_answers_for_an_address_that_he_was_not_given() {
    for spoof_check in [true, false] {
        let Some(world) = World::new(SUBNET) else { return };
        let thief = Thief::new(&world, spoof_check);
        thief.take(FREE);
        // Nobody listens there: either the thief's kernel says so, or nobody is found.
        let want =
            if spoof_check { ErrorKind::HostUnreachable } else { ErrorKind::ConnectionRefused };
        let tried = TcpStream::connect_timeout(&(FREE, 9).into(), LIMIT);
        assert_eq!(tried.unwrap_err().kind(), want, "check: {spoof_check}");
    }
}

#[test]
fn a_hardware_address_stays_at_its_port() {
    for spoof_check in [true, false] {
        let Some(world) = World::new(SUBNET) else { return };
        let thief = Thief::new(&world, spoof_check);
        let (victim, victims) = join(&world, "victim", spoof_check);
        talk(&victim, victims.address);
        thief.set_mac(victims.container.mac);
        // Its question for the gateway shows the host who has that hardware address now.
        let (own, taken) = (thief.joined.address, victims.container.mac);
        thief.send(own, (thief.joined.gateway, 9).into());
        eventually("the host hears the thief", || mac_of(own) == Some(taken.to_string()));
        let reached = reach(&victim, victims.address);
        assert_eq!(reached.is_ok(), spoof_check, "check: {spoof_check}, {reached:?}");
    }
}

/// What the host knows a neighbour by.
fn mac_of(address: Ipv4Addr) -> Option<String> {
    let table = fs::read_to_string("/proc/thread-self/net/arp").unwrap();
    let address = address.to_string();
    let row = table.lines().find(|row| row.split_whitespace().next() == Some(&address))?;
    row.split_whitespace().nth(3).map(str::to_owned)
}

fn reach(to: &Netns, address: Ipv4Addr) -> io::Result<()> {
    let listener = to.run(|| TcpListener::bind((address, 0))).unwrap()?;
    TcpStream::connect_timeout(&listener.local_addr()?, Duration::from_secs(2)).map(drop)
}

#[test]
fn a_container_that_moves_takes_its_rules_along() {
    let Some(world) = World::new(SUBNET) else { return };
    let thief = Thief::new(&world, true);
    world.lease(MOVED);
    let moved = world.host.renumber(&owner("thief")).unwrap().unwrap();
    let other = Ipv4Addr::new(10, 88, 3, 77);
    for address in [other, FREE] {
        thief.take(address);
    }
    // What was this host's is another's now: refused by the table of peers, not here.
    let heard = thief.heard((moved.address, moved.gateway), &[other, FREE]);
    assert_eq!(heard, [FREE, moved.address]);

    // The address that it had, and the hardware address made from it, are somebody else's one day.
    world.host.renumber_bridges().unwrap();
    world.lease(SUBNET);
    let next = world.container();
    let wish = Request { address: Some(thief.joined.address), ..request("next", &next) };
    let joined = world.host.attach(&wish).unwrap();
    assert_eq!(joined.container.mac, thief.joined.container.mac);
    talk(&next, joined.address);
}
