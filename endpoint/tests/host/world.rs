//! A host in a network namespace of its own, with a pool in a directory of its own.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use twill_endpoint::{Host, Keeper, Owner, Request};
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

    /// What the agent does when it holds a subnet.
    pub(crate) fn lease(&self, subnet: &str) {
        let text = format!(
            "FLANNEL_NETWORK=10.88.0.0/16\nFLANNEL_SUBNET={subnet}\nFLANNEL_MTU=1450\n\
             FLANNEL_IPMASQ=true\n"
        );
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
pub(crate) fn gateways() -> Vec<Ipv4Addr> {
    let bridge = kernel().link("twill0").unwrap().unwrap().index;
    let rows = kernel().addresses().unwrap().into_iter();
    rows.filter(|row| row.link == bridge).map(|row| row.address).collect()
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
pub(crate) fn talk(to: &Netns, address: Ipv4Addr) {
    let listener = to.run(|| TcpListener::bind((address, 0)).unwrap()).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _from) = listener.accept().unwrap();
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            stream.write_all(&byte).unwrap();
        });
        let limit = Duration::from_secs(5);
        let to = (address, port).into();
        let mut stream = TcpStream::connect_timeout(&to, limit).unwrap();
        stream.set_read_timeout(Some(limit)).unwrap();
        stream.write_all(b"x").unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
    });
}

/// Waits for what the kernel does in its own time.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "still not so: {what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}
