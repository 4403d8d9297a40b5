//! A container takes what belongs to another one on its bridge.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::sockopt::Ipv6Ttl;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn6, bind, sendto,
    setsockopt, socket,
};
use twill_core::ids::Mac;
use twill_endpoint::{Attachment, Request};
use twill_net::blocking::{Address, Kernel, LinkChange, Route};
use twill_net::netns::Netns;

use crate::world::{World, eventually, first, ip, owner, request, talk};

const SUBNET: &str = "10.88.2.1/24";
const MOVED: &str = "10.88.3.1/24";
/// An address of `SUBNET` that no container has.
const FREE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 88, 2, 77));
/// Outside of the host's subnet: of a network inside the container, or one that it shares with others.
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
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

    fn take(&self, address: IpAddr) {
        let mut inside = Kernel::of(&self.netns).unwrap();
        let link = inside.link("eth0").unwrap().unwrap().index;
        let prefix_length = if address.is_ipv4() { 32 } else { 128 };
        inside.ensure_address(Address { link, address, prefix_length }).unwrap();
    }

    fn set_mac(&self, mac: Mac) {
        let mut inside = Kernel::of(&self.netns).unwrap();
        let link = inside.link("eth0").unwrap().unwrap().index;
        inside.change_link(link, &LinkChange { mac: Some(mac), ..LinkChange::default() }).unwrap();
    }

    /// Which packets the gateway hears of those that are sent from `sources`, one after another, and
    /// then from `own`.
    fn heard(&self, (own, gateway): (IpAddr, IpAddr), sources: &[IpAddr]) -> Vec<IpAddr> {
        let host = UdpSocket::bind((gateway, 0)).unwrap();
        host.set_read_timeout(Some(LIMIT)).unwrap();
        let to = host.local_addr().unwrap();
        let hear = || host.recv_from(&mut [0; 8]).unwrap().1.ip();
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

    /// A neighbour advertisement (RFC 4861, 4.4): solicited, and to override what is known.
    fn advertise(&self, target: IpAddr, to: IpAddr) {
        let (IpAddr::V6(target), IpAddr::V6(to)) = (target, to) else { panic!("of IPv6") };
        let mut message = vec![136, 0, 0, 0, 0x60, 0, 0, 0];
        message.extend(target.octets());
        message.extend([2, 1]);
        message.extend(self.joined.container.mac.0);
        let send = || -> nix::Result<usize> {
            let (family, flags) = (AddressFamily::Inet6, SockFlag::empty());
            let socket = socket(family, SockType::Raw, flags, SockProtocol::IcmpV6)?;
            setsockopt(&socket, Ipv6Ttl, &255)?;
            let own = on_the_link();
            bind(socket.as_raw_fd(), &SockaddrIn6::from(own))?;
            let to = SockaddrIn6::from(SocketAddrV6::new(to, 0, 0, 0));
            sendto(socket.as_raw_fd(), &message, &to, MsgFlags::empty())
        };
        assert_eq!(self.netns.run(send).unwrap(), Ok(message.len()));
    }

    fn send(&self, source: IpAddr, to: SocketAddr) {
        let sent = self.netns.run(|| UdpSocket::bind((source, 0))?.send_to(b"x", to));
        assert_eq!(sent.unwrap().unwrap(), 1);
    }
}

/// The address that the kernel of the calling thread's namespace gives to its interface.
fn on_the_link() -> SocketAddrV6 {
    let mut inside = Kernel::here().unwrap();
    let link = inside.link("eth0").unwrap().unwrap().index;
    let own = inside.addresses().unwrap().into_iter().find_map(|row| match row.address {
        IpAddr::V6(own) if own.is_unicast_link_local() && row.link == link => Some(own),
        _other => None,
    });
    SocketAddrV6::new(own.unwrap(), 0, 0, link.0)
}

fn join(world: &World, name: &str, spoof_check: bool) -> (Netns, Attachment) {
    let netns = world.container();
    // So that nothing speaks but the test; a container that gets IPv6 has it all the same.
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
    for (subnet, free, elsewhere) in
        [(SUBNET, FREE, ELSEWHERE), ("fd00:88:0:2::1/64", ip("fd00:88:0:2:7::7"), ip("fd00:99::7"))]
    {
        for spoof_check in [true, false] {
            let Some(world) = World::new(subnet) else { return };
            let thief = Thief::new(&world, spoof_check);
            let (_victim, victims) = join(&world, "victim", spoof_check);
            let victims = first(&victims).0;
            for address in [victims, free, elsewhere] {
                thief.take(address);
            }
            let (own, gateway) = first(&thief.joined);
            let heard = thief.heard((own, gateway), &[victims, free, elsewhere]);
            let stolen = if spoof_check { vec![] } else { vec![victims, free] };
            let mut kernel = Kernel::here().unwrap();
            let counted = kernel.refused_at_ports().unwrap();
            let port = kernel.link(&thief.joined.host.name).unwrap().unwrap().index;
            let at_his = counted.iter().find(|(at, _packets)| *at == port);
            let refused = at_his.map_or(0, |(_port, packets)| *packets);
            assert_eq!(refused > 0, spoof_check, "{counted:?}");
            assert_eq!(heard, [stolen, vec![elsewhere, own]].concat(), "check: {spoof_check}");
        }
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
        talk(&victim, first(&victims).0);
        thief.set_mac(victims.container.mac);
        // Its question for the gateway shows the host who has that hardware address now.
        let ((own, gateway), taken) = (first(&thief.joined), victims.container.mac);
        thief.send(own, (gateway, 9).into());
        eventually("the host hears the thief", || mac_of(own) == Some(taken.to_string()));
        let reached = reach(&victim, first(&victims).0);
        assert_eq!(reached.is_ok(), spoof_check, "check: {spoof_check}, {reached:?}");
    }
}

/// Says that another's address is at the thief's, from an address of the link that is nobody else's.
#[test]
fn nobody_advertises_for_another() {
    for spoof_check in [true, false] {
        let Some(world) = World::new("fd00:88:0:2::1/64") else { return };
        let thief = Thief::new(&world, spoof_check);
        let (victim, victims) = join(&world, "victim", spoof_check);
        let (taken, _) = first(&victims);
        talk(&victim, taken);
        let (own, gateway) = first(&thief.joined);
        thief.advertise(taken, gateway);
        // All take one way: what was said is known when this is heard.
        assert_eq!(thief.heard((own, gateway), &[]), [own]);
        let reached = reach(&victim, taken);
        assert_eq!(reached.is_ok(), spoof_check, "check: {spoof_check}, {reached:?}");
        // What it may say is heard.
        talk(&thief.netns, own);
    }
}

/// What the host knows a neighbour by.
fn mac_of(address: IpAddr) -> Option<String> {
    let table = fs::read_to_string("/proc/thread-self/net/arp").unwrap();
    let address = address.to_string();
    let row = table.lines().find(|row| row.split_whitespace().next() == Some(&address))?;
    row.split_whitespace().nth(3).map(str::to_owned)
}

fn reach(to: &Netns, address: IpAddr) -> io::Result<()> {
    let listener = to.run(|| TcpListener::bind((address, 0))).unwrap()?;
    TcpStream::connect_timeout(&listener.local_addr()?, Duration::from_secs(2)).map(drop)
}

#[test]
fn a_container_that_moves_takes_its_rules_along() {
    let Some(world) = World::new(SUBNET) else { return };
    let thief = Thief::new(&world, true);
    world.lease(MOVED);
    let moved = world.host.renumber(&owner("thief")).unwrap().unwrap();
    let other = ip("10.88.3.77");
    for address in [other, FREE] {
        thief.take(address);
    }
    // What was this host's is another's now: refused by the table of peers, not here.
    let (own, gateway) = (moved.places[0].address, moved.places[0].gateway());
    let heard = thief.heard((own, gateway), &[other, FREE]);
    assert_eq!(heard, [FREE, own]);

    // The address that it had, and the hardware address made from it, are somebody else's one day.
    world.host.renumber_bridges().unwrap();
    world.lease(SUBNET);
    let next = world.container();
    let wish = Request { addresses: vec![first(&thief.joined).0], ..request("next", &next) };
    let joined = world.host.attach(&wish).unwrap();
    assert_eq!(joined.container.mac, thief.joined.container.mac);
    talk(&next, first(&joined).0);
}

/// It was joined when there was no IPv6, or in another subnet, and nobody brings it along.
#[test]
fn a_container_that_stays_behind_has_nothing_in_the_blocks_of_now() {
    for (spoof_check, then, now) in [
        (true, SUBNET, "10.88.2.1/24 fd00:88:0:2::1/64"),
        (false, SUBNET, "10.88.2.1/24 fd00:88:0:2::1/64"),
        (true, MOVED, SUBNET),
    ] {
        let Some(world) = World::new(then) else { return };
        let thief = Thief::new(&world, spoof_check);
        world.lease(now);
        let (_victim, victims) = join(&world, "victim", spoof_check);
        world.host.renumber_bridges().unwrap();
        let taken = victims.places.last().copied().unwrap();
        let on = "/proc/sys/net/ipv6/conf/eth0/disable_ipv6";
        thief.netns.run(|| fs::write(on, "0")).unwrap().unwrap();
        thief.take(taken.address);
        let host = UdpSocket::bind((taken.gateway(), 0)).unwrap();
        // What is kept out does not come later either; what is let in may take its time.
        let patience = if spoof_check { Duration::from_millis(500) } else { LIMIT };
        host.set_read_timeout(Some(patience)).unwrap();
        let to = host.local_addr().unwrap();
        let mut inside = Kernel::of(&thief.netns).unwrap();
        let link = inside.link("eth0").unwrap().unwrap().index;
        let way = Route { destination: taken.subnet, gateway: None, link: Some(link), protocol: 3 };
        inside.configure(link, &[], &[way]).unwrap();
        // An address of IPv6 is tried for a second before it may be used.
        eventually("it has the address", || {
            let sent = thief.netns.run(|| UdpSocket::bind((taken.address, 0))?.send_to(b"x", to));
            sent.unwrap().is_ok()
        });
        let heard = host.recv_from(&mut [0; 8]).is_ok();
        assert_eq!(heard, !spoof_check, "check: {spoof_check}, {then} then {now}");
    }
}
