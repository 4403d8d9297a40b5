//! Three hosts, and packets that somebody should not have sent: from the underlay, from a peer in
//! another's name, from a container with another's address; of either family, and of one in a network
//! that has both.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use twill_core::ids::Family;
use twill_integration::container::Endpoint;
use twill_integration::fabric::{Backend, Fabric};
use twill_integration::{Host, may_build_labs, wait_until};

/// A packet between two namespaces of one machine is there at once; the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(5);
/// One that is refused does not come later either.
const SILENCE: Duration = Duration::from_millis(200);

#[test]
fn nobody_speaks_in_anothers_name_over_udp() -> Result<()> {
    nobody_speaks_in_anothers_name(Backend::Udp, Network::Ipv4)
}

#[test]
fn nobody_speaks_in_anothers_name_by_the_shortcut() -> Result<()> {
    nobody_speaks_in_anothers_name(Backend::UdpShortcut, Network::Ipv4)
}

#[test]
fn nobody_speaks_in_anothers_name_over_vxlan() -> Result<()> {
    nobody_speaks_in_anothers_name(Backend::Vxlan, Network::Ipv4)
}

#[test]
fn nobody_speaks_in_anothers_name_over_udp_of_ipv6() -> Result<()> {
    nobody_speaks_in_anothers_name(Backend::Udp, Network::Ipv6)
}

#[test]
fn nobody_speaks_in_anothers_name_over_vxlan_of_ipv6() -> Result<()> {
    nobody_speaks_in_anothers_name(Backend::Vxlan, Network::Ipv6)
}

#[test]
fn nobody_speaks_in_anothers_name_over_udp_of_both() -> Result<()> {
    nobody_speaks_in_anothers_name(Backend::Udp, Network::Both)
}

#[test]
fn nobody_speaks_in_anothers_name_by_the_shortcut_of_both() -> Result<()> {
    nobody_speaks_in_anothers_name(Backend::UdpShortcut, Network::Both)
}

#[test]
fn nobody_speaks_in_anothers_name_over_vxlan_of_both() -> Result<()> {
    nobody_speaks_in_anothers_name(Backend::Vxlan, Network::Both)
}

/// Which addresses there are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Network {
    Ipv4,
    Ipv6,
    Both,
}

impl Network {
    fn families(self) -> &'static [Family] {
        match self {
            Self::Ipv4 => &[Family::V4],
            Self::Ipv6 => &[Family::V6],
            Self::Both => &[Family::V4, Family::V6],
        }
    }

    /// Three hosts with such a network.
    fn start(self, backend: Backend) -> Result<Fabric> {
        let network: &[&str] = match self {
            Self::Ipv4 => return Fabric::start(3, backend),
            Self::Ipv6 => &["--network", "fd00:88::/48"],
            Self::Both => &["--network", "10.88.0.0/16", "--ipv6-network", "fd00:88::/48"],
        };
        let mut fabric = Fabric::bare_of_both(3)?;
        let options = ["--iface=eth0", "--ip-masq"];
        fabric.give_agents(&[&options, backend.options()].concat());
        fabric.start_etcd()?;
        let init = ["network", "init", "--force", "--backend", backend.name()];
        fabric.ctl(&[&init[..], network].concat())?;
        fabric.start_agents(1..=3)?;
        for number in 1..=3 {
            fabric.knows(number, 2 * self.families().len())?;
        }
        fabric.lab().hosts().try_for_each(Endpoint::import_image)?;
        Ok(fabric)
    }
}

fn nobody_speaks_in_anothers_name(backend: Backend, network: Network) -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let fabric = network.start(backend)?;
    let start = |number| {
        let name = format!("c{number}");
        Endpoint::container(fabric.node(number), &name, &["sleep", "10000"])
    };
    let ends = [start(1)?, start(2)?, start(3)?];
    for family in network.families() {
        let of = |end: &Endpoint| of_family(end, *family);
        let [victim, theirs, third] = &ends;
        forgeries_are_refused(
            &fabric,
            (backend, *family),
            &[of(victim)?, of(theirs)?, of(third)?],
        )?;
    }
    fabric.finish()
}

/// The same container, known by its address of that family.
fn of_family(end: &Endpoint, family: Family) -> Result<Endpoint> {
    let mut addresses = [Some(end.address), end.ipv6].into_iter().flatten();
    let address = addresses.find(|address| Family::of(*address) == family);
    Ok(Endpoint { address: address.context("no address of that family")?, ..end.clone() })
}

fn forgeries_are_refused(
    fabric: &Fabric,
    (backend, family): (Backend, Family),
    [victim, theirs, third]: &[Endpoint; 3],
) -> Result<()> {
    let listener = victim.within(|| Ok(UdpSocket::bind((victim.address, 9))?))?;
    let scene = Scene { fabric, backend, family, victim, listener };
    let [peer, stranger] = [scene.host(2), scene.stranger()];

    // By hand, and yet a good one: what the test forges is right in all but the names.
    scene.forge((2, peer), theirs.address)?;
    ensure!(scene.arrives(PATIENCE)?, "a peer's own packet is let in");
    for (from, source, reason) in [
        ((2, peer), third.address, "inner"),
        ((2, peer), victim.address, "inner"),
        ((3, stranger), theirs.address, "stranger"),
    ] {
        let before = refused(fabric.node(1), backend.name(), reason)?;
        scene.forge(from, source)?;
        let what = format!("{reason}: {source} from {}", from.1);
        // A stranger has to find out first where the host is.
        wait_until(&format!("{what} is counted"), PATIENCE, || {
            refused(fabric.node(1), backend.name(), reason).is_ok_and(|count| count > before)
        })?;
        ensure!(!scene.arrives(SILENCE)?, "{what}");
        let after = refused(fabric.node(1), backend.name(), reason)?;
        ensure!(after == before + 1, "{what} is counted once, not {} times", after - before);
    }

    // A container cannot leave its own host with an address of a third one's.
    let address = format!("{}/{}", third.address, family.bits());
    let network = format!("--net={}", theirs.network);
    let add = ["nsenter", &network, "ip", "address", "add", &address, "dev", "eth0"];
    let nodad = (family == Family::V6).then_some("nodad");
    fabric.node(2).ok(add.into_iter().chain(nodad))?;
    let to = (victim.address, 9);
    let send = |source| {
        theirs.within(|| Ok(UdpSocket::bind((source, 0))?.send_to(b"hello", to).map(drop)?))
    };
    let counted = || -> Result<_> {
        let there = refused(fabric.node(2), "plain", "container")?;
        Ok((there, refused(fabric.node(1), backend.name(), "inner")?))
    };
    send(theirs.address)?;
    ensure!(scene.arrives(PATIENCE)?, "its own address");
    let (there, here) = counted()?;
    send(third.address)?;
    ensure!(!scene.arrives(SILENCE)?, "another's address");
    let now = counted()?;
    ensure!(now == (there + 1, here), "counted where it was sent, and nowhere else: {now:?}");

    // What is refused disturbs nobody.
    third.ping(victim.address)
}

/// The host number one, whose container is spoken to.
struct Scene<'a> {
    fabric: &'a Fabric,
    backend: Backend,
    family: Family,
    victim: &'a Endpoint,
    listener: UdpSocket,
}

impl Scene<'_> {
    /// From that host and outer source.
    fn forge(&self, (number, outer): (usize, IpAddr), source: IpAddr) -> Result<()> {
        let inner = datagram(source, self.victim.address)?;
        let (port, bytes) = match self.backend {
            Backend::Udp | Backend::UdpShortcut => (8285, inner),
            Backend::Vxlan => (8472, self.vxlan(&inner)?),
            Backend::Wireguard | Backend::HostGw => bail!("nothing is wrapped in the clear"),
        };
        let host = self.fabric.node(number);
        let (len, nodad) = match self.family {
            Family::V4 => (24, None),
            Family::V6 => (64, Some("nodad")),
        };
        let address = format!("{outer}/{len}");
        let add = ["ip", "address", "add", &address, "dev", "eth0"];
        // Already there is as good.
        host.run(add.into_iter().chain(nodad))?;
        let to = (self.host(1), port);
        host.within(|| Ok(UdpSocket::bind((outer, 0))?.send_to(&bytes, to).map(drop)?))
    }

    fn arrives(&self, patience: Duration) -> Result<bool> {
        self.listener.set_read_timeout(Some(patience))?;
        Ok(self.listener.recv(&mut [0; 100]).is_ok())
    }

    /// Where that host is on the underlay.
    fn host(&self, number: u8) -> IpAddr {
        match self.family {
            Family::V4 => Ipv4Addr::new(192, 168, 140, 21 + number).into(),
            Family::V6 => Ipv6Addr::new(0xfd00, 0x140, 0, 0, 0, 0, 0, number.into()).into(),
        }
    }

    /// An address of the underlay that is no host's.
    fn stranger(&self) -> IpAddr {
        match self.family {
            Family::V4 => Ipv4Addr::new(192, 168, 140, 99).into(),
            Family::V6 => Ipv6Addr::new(0xfd00, 0x140, 0, 0, 0, 0, 0, 0x99).into(),
        }
    }

    /// Into the segment 1 (RFC 7348), for the device of the first host.
    fn vxlan(&self, inner: &[u8]) -> Result<Vec<u8>> {
        let (device, kind) = match self.family {
            Family::V4 => ("flannel.1", [8, 0]),
            Family::V6 => ("flannel-v6.1", [0x86, 0xdd]),
        };
        let path = format!("/sys/class/net/{device}/address");
        let text = self.fabric.node(1).ok(["cat", &path])?;
        let bytes = text.trim().split(':').map(|byte| u8::from_str_radix(byte, 16));
        let mac: Vec<u8> = bytes.collect::<Result<_, _>>()?;
        let header = [8, 0, 0, 0, 0, 0, 1, 0];
        Ok([&header, mac.as_slice(), &[2, 0, 0, 0, 0, 2], &kind, inner].concat())
    }
}

/// How many, as the host's agent exports it.
fn refused(host: &Host, way: &str, reason: &str) -> Result<u64> {
    let mut stream = UnixStream::connect(host.path("/run/twill/agent.sock"))?;
    write!(stream, "GET /metrics HTTP/1.0\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    let name = format!("twill_refused_packets_total{{way=\"{way}\",reason=\"{reason}\"}} ");
    let count = page.lines().find_map(|line| line.strip_prefix(&name));
    Ok(count.with_context(|| format!("no {name}in {page}"))?.parse()?)
}

/// What is said, from port 9 to port 9.
const UDP: [u8; 13] = [0, 9, 0, 9, 0, 13, 0, 0, b'h', b'e', b'l', b'l', b'o'];

fn datagram(source: IpAddr, destination: IpAddr) -> Result<Vec<u8>> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            // Without a checksum of its own.
            let mut bytes = vec![0x45, 0, 0, 33, 0, 0, 0, 0, 64, 17, 0, 0];
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
            let sum = checksum(&bytes)?;
            bytes[10..12].copy_from_slice(&sum);
            Ok([bytes.as_slice(), &UDP].concat())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let ends = [source.octets(), destination.octets()].concat();
            let mut udp = UDP;
            let sum = checksum(&[&ends[..], &[0, 0, 0, 13, 0, 0, 0, 17], &udp, &[0]].concat())?;
            udp[6..8].copy_from_slice(&sum);
            Ok([&[0x60, 0, 0, 0, 0, 13, 17, 64], ends.as_slice(), &udp].concat())
        }
        _mixed => bail!("both are of one family"),
    }
}

/// Of whole words.
fn checksum(bytes: &[u8]) -> Result<[u8; 2]> {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    Ok((!u16::try_from(sum)?).to_be_bytes())
}
