//! A host in a network namespace of its own, with a pool in a directory of its own.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use twill_endpoint::{Attachment, Host, Keeper, Owner, Request};
use twill_net::blocking::Kernel;
use twill_net::netns::{Netns, Scratch};

/// One host. Everything is gone when it is dropped, or when the test is killed.
pub(crate) struct World {
    pub(crate) host: Host,
    _directory: TempDir,
    scratch: Scratch,
}

impl World {
    /// `None` (said aloud) without root.
    pub(crate) fn new(subnet: &str) -> Option<Self> {
        let scratch = Scratch::enter()?;
        let directory = tempfile::tempdir().unwrap();
        let host = Host {
            subnet_env: directory.path().join("subnet.env"),
            state: directory.path().join("endpoint"),
        };
        let world = Self { host, _directory: directory, scratch };
        world.lease(subnet);
        Some(world)
    }

    /// What the agent does when it holds a subnet, or one of each family with a blank between them.
    pub(crate) fn lease(&self, subnets: &str) {
        let mut text = String::new();
        for subnet in subnets.split(' ') {
            let (network, own) = if subnet.contains(':') {
                ("FLANNEL_IPV6_NETWORK=fd00:88::/48\n", "FLANNEL_IPV6_SUBNET=")
            } else {
                ("FLANNEL_NETWORK=10.88.0.0/16\n", "FLANNEL_SUBNET=")
            };
            text += &[network, own, subnet, "\n"].concat();
        }
        text += "FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
        fs::write(&self.host.subnet_env, text).unwrap();
    }

    pub(crate) fn container(&self) -> Netns {
        self.scratch.another()
    }

    /// The files of records.
    pub(crate) fn records(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(&self.host.state).into_iter().flatten();
        let files = files.map(|file| file.unwrap().path());
        files.filter(|file| file.extension().is_some_and(|end| end == "json")).collect()
    }
}

/// The names of all links but loopback.
pub(crate) fn links() -> Vec<String> {
    let links = kernel().links().unwrap().into_iter().map(|link| link.name);
    links.filter(|name| name != "lo").collect()
}

/// The addresses of the bridge.
pub(crate) fn gateways() -> Vec<IpAddr> {
    addresses(&mut kernel(), "twill0")
}

/// The addresses of `eth0` of a container.
pub(crate) fn inside(netns: &Netns) -> Vec<IpAddr> {
    addresses(&mut Kernel::of(netns).unwrap(), "eth0")
}

/// Without those that the kernel gives to each link.
fn addresses(kernel: &mut Kernel, name: &str) -> Vec<IpAddr> {
    let link = kernel.link(name).unwrap().unwrap().index;
    let rows = kernel.addresses().unwrap().into_iter();
    let own = |address: &IpAddr| match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    };
    rows.filter(|row| row.link == link).map(|row| row.address).filter(own).collect()
}

/// The first address of a container, and its gateway.
pub(crate) fn first(joined: &Attachment) -> (IpAddr, IpAddr) {
    (joined.places[0].address, joined.places[0].gateway())
}

/// All addresses of a container.
pub(crate) fn all(joined: &Attachment) -> Vec<IpAddr> {
    joined.places.iter().map(|place| place.address).collect()
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn kernel() -> Kernel {
    Kernel::here().unwrap()
}

pub(crate) fn owner(container: &str) -> Owner {
    let interface = "eth0".parse().unwrap();
    Owner { keeper: Keeper::Twill, container: container.to_owned(), interface }
}

pub(crate) fn request<'a>(container: &str, netns: &'a Netns) -> Request<'a> {
    Request::new(owner(container), netns)
}

/// A few bytes there and back over TCP, from the calling thread's namespace to `to`.
pub(crate) fn talk(to: &Netns, address: impl Into<IpAddr>) {
    let address = address.into();
    let listener = to.run(|| TcpListener::bind((address, 0)).unwrap()).unwrap();
    let port = listener.local_addr().unwrap().port();
    let limit = Duration::from_secs(5);
    let mut near = TcpStream::connect_timeout(&(address, port).into(), limit).unwrap();
    let (mut far, _from) = listener.accept().unwrap();
    for stream in [&near, &far] {
        stream.set_read_timeout(Some(limit)).unwrap();
    }
    let mut byte = [0];
    near.write_all(b"x").unwrap();
    far.read_exact(&mut byte).unwrap();
    far.write_all(&byte).unwrap();
    near.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"x");
}

/// Waits for what the kernel does in its own time.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "still not so: {what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}
