//! Three hosts, and packets that somebody should not have sent: from the underlay, from a peer in
//! another's name, from a container with another's address.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use twill_integration::container::Endpoint;
use twill_integration::fabric::{Backend, Fabric};
use twill_integration::{Host, may_build_labs};

/// A packet between two namespaces of one machine is there at once; the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(5);
/// One that is refused does not come later either.
const SILENCE: Duration = Duration::from_millis(200);

#[test]
fn nobody_speaks_in_anothers_name_over_udp() -> Result<()> {
    nobody_speaks_in_anothers_name(Backend::Udp)
}

#[test]
fn nobody_speaks_in_anothers_name_over_vxlan() -> Result<()> {
    nobody_speaks_in_anothers_name(Backend::Vxlan)
}

fn nobody_speaks_in_anothers_name(backend: Backend) -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let fabric = Fabric::start(3, backend)?;
    let start = |number| {
        let name = format!("c{number}");
        Endpoint::container(fabric.node(number), &name, &["sleep", "10000"])
    };
    let (victim, theirs, third) = (start(1)?, start(2)?, start(3)?);
    let listener = victim.within(|| Ok(UdpSocket::bind((victim.address, 9))?))?;
    let scene = Scene { fabric: &fabric, backend, victim: &victim, listener };

    // By hand, and yet a good one: what the test forges is right in all but the names.
    scene.forge((2, peer_of(2)), theirs.address)?;
    ensure!(scene.arrives(PATIENCE)?, "a peer's own packet is let in");
    for (from, source, reason) in [
        ((2, peer_of(2)), third.address, "inner"),
        ((2, peer_of(2)), victim.address, "inner"),
        ((3, stranger()), theirs.address, "stranger"),
    ] {
        let before = refused(fabric.node(1), backend.name(), reason)?;
        scene.forge(from, source)?;
        ensure!(!scene.arrives(SILENCE)?, "{reason}: {source} from {}", from.1);
        let after = refused(fabric.node(1), backend.name(), reason)?;
        ensure!(after == before + 1, "{reason}: {source} from {}", from.1);
    }

    // A container cannot leave its own host with an address of a third one's.
    let (network, address) = (format!("--net={}", theirs.network), format!("{}/32", third.address));
    fabric.node(2).ok(["nsenter", &network, "ip", "address", "add", &address, "dev", "eth0"])?;
    let to = (victim.address, 9);
    let send = |source| {
        theirs.within(|| Ok(UdpSocket::bind((source, 0))?.send_to(b"hello", to).map(drop)?))
    };
    send(theirs.address)?;
    ensure!(scene.arrives(PATIENCE)?, "its own address");
    send(third.address)?;
    ensure!(!scene.arrives(SILENCE)?, "another's address");
    ensure!(refused(fabric.node(2), "plain", "container")? == 1, "counted where it was sent");
    ensure!(refused(fabric.node(1), backend.name(), "inner")? == 2, "and nowhere else");

    // What is refused disturbs nobody.
    third.ping(victim.address)?;
    fabric.finish()
}

/// The host number one, whose container is spoken to.
struct Scene<'a> {
    fabric: &'a Fabric,
    backend: Backend,
    victim: &'a Endpoint,
    listener: UdpSocket,
}

impl Scene<'_> {
    /// From that host and outer source.
    fn forge(&self, (number, outer): (usize, Ipv4Addr), source: IpAddr) -> Result<()> {
        let inner = datagram(source, self.victim.address)?;
        let (port, bytes) = match self.backend {
            Backend::Udp => (8285, inner),
            Backend::Vxlan => (8472, vxlan(&mac_of(self.fabric.node(1))?, &inner)),
            Backend::HostGw => bail!("nothing is wrapped"),
        };
        let host = self.fabric.node(number);
        // Already there is as good.
        host.run(["ip", "address", "add", &format!("{outer}/24"), "dev", "eth0"])?;
        let to = (peer_of(1), port);
        host.within(|| Ok(UdpSocket::bind((outer, 0))?.send_to(&bytes, to).map(drop)?))
    }

    fn arrives(&self, patience: Duration) -> Result<bool> {
        self.listener.set_read_timeout(Some(patience))?;
        Ok(self.listener.recv(&mut [0; 100]).is_ok())
    }
}

fn peer_of(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 140, 21 + number)
}

fn stranger() -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 140, 99)
}

fn mac_of(host: &Host) -> Result<Vec<u8>> {
    let text = host.ok(["cat", "/sys/class/net/flannel.1/address"])?;
    let bytes = text.trim().split(':').map(|byte| u8::from_str_radix(byte, 16));
    Ok(bytes.collect::<Result<_, _>>()?)
}

/// How many, as the host's agent exports it.
fn refused(host: &Host, way: &str, reason: &str) -> Result<u64> {
    let mut stream = UnixStream::connect(host.path("/run/twill/twilld.sock"))?;
    write!(stream, "GET /metrics HTTP/1.0\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    let name = format!("twill_refused_packets_total{{way=\"{way}\",reason=\"{reason}\"}} ");
    let count = page.lines().find_map(|line| line.strip_prefix(&name));
    Ok(count.with_context(|| format!("no {name}in {page}"))?.parse()?)
}

/// UDP from port 9 to port 9, without a checksum of its own.
fn datagram(source: IpAddr, destination: IpAddr) -> Result<Vec<u8>> {
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (source, destination) else {
        bail!("both are of IPv4");
    };
    let mut bytes = vec![0x45, 0, 0, 33, 0, 0, 0, 0, 64, 17, 0, 0];
    bytes.extend(source.octets());
    bytes.extend(destination.octets());
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum: u32 = words.sum();
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16))?;
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    bytes.extend([0, 9, 0, 9, 0, 13, 0, 0]);
    bytes.extend(b"hello");
    Ok(bytes)
}

/// Into the segment 1 (RFC 7348).
fn vxlan(to: &[u8], inner: &[u8]) -> Vec<u8> {
    let header = [8, 0, 0, 0, 0, 0, 1, 0];
    [&header, to, &[2, 0, 0, 0, 0, 2, 8, 0], inner].concat()
}
