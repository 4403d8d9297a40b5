//! Answers containers' questions for names, at the address of the bridge.
//!
//! Names of containers of this host are known from the runtime's records; everything else goes to the host's
//! own resolvers as it came, and so do their answers. Nobody but the host's containers is answered.

mod answer;
mod book;
mod upstream;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrStorage, socket};
use rustix::net::sockopt::{set_ip_freebind, set_ipv6_freebind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use twill_core::ids::Subnet;
use twill_endpoint::Host;

use crate::metrics::Meters;
use crate::trouble::Trouble;
use answer::Answer;
use book::Books;

/// Where questions for names go.
const PORT: u16 = 53;
/// From one look at the host's subnet to the next.
const PERIOD: Duration = Duration::from_secs(1);
/// So many questions are being answered at once; who asks more often is not heard.
const MOST: usize = 512;
/// Connections that are open at once.
const MOST_TALKS: usize = 64;
/// How long a connection may say nothing.
const IDLE: Duration = Duration::from_secs(10);

/// What answers are made from.
#[derive(Debug)]
struct Desk {
    books: Books,
    upstreams: PathBuf,
    /// The blocks whose containers are answered.
    subnets: Vec<Subnet>,
    room: Arc<Semaphore>,
    meters: Meters,
}

/// The resolvers of this host: one at each of the bridge's addresses of the network whose file this is.
#[derive(Debug)]
pub(crate) struct Names {
    host: Host,
    /// Next to the agent's socket: containers ask first whom it names when they start.
    told: PathBuf,
    room: Arc<Semaphore>,
    meters: Meters,
    open: Mutex<(Open, Trouble)>,
}

impl Names {
    pub(crate) fn new(subnet_file: PathBuf, socket: &Path, meters: Meters) -> Self {
        Self {
            host: Host { subnet_env: subnet_file, ..Host::default() },
            told: socket.with_file_name("resolvers"),
            room: Arc::new(Semaphore::new(MOST)),
            meters,
            open: Mutex::default(),
        }
    }

    /// Looks again and again, for ever: somebody may have taken the file away, or had the port.
    pub(crate) async fn keep(&self) {
        loop {
            self.look();
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// Listens where the host's subnet of now wants it, and says so. Called as soon as there is a subnet:
    /// whoever starts containers once the agent is ready finds it said.
    pub(crate) fn look(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (open, trouble) = &mut *open;
        let env = self.host.read_env().ok();
        let blocks = env.iter().flat_map(twill_core::subnet_env::SubnetEnv::blocks);
        let subnets: Vec<Subnet> = blocks.map(|blocks| blocks.subnet).collect();
        match follow(open, &subnets, (&self.room, &self.meters)) {
            Ok(()) => _ = trouble.over(),
            Err((address, error)) => {
                let why = format!("cannot answer for names at {address}: {error}");
                if trouble.meet(&why).1 {
                    tracing::warn!("{why}: containers ask the host's resolvers");
                }
            }
        }
        let now: Vec<String> = open.keys().map(|address| format!("{address}\n")).collect();
        let now = now.concat();
        let said = std::fs::read_to_string(&self.told).unwrap_or_default();
        if said != now
            && let Err(error) = tell(&self.told, &now)
        {
            tracing::debug!(%error, "cannot say where names are answered");
        }
    }
}

/// Those who listen, by their addresses, and the blocks whose containers they answer.
type Open = BTreeMap<IpAddr, (Vec<Subnet>, JoinSet<()>)>;

/// Brings about that there is one for each block of now; the last that could not be is told.
fn follow(
    open: &mut Open,
    subnets: &[Subnet],
    (room, meters): (&Arc<Semaphore>, &Meters),
) -> Result<(), (IpAddr, io::Error)> {
    let gateways: Vec<IpAddr> = subnets.iter().map(|subnet| subnet.first_host()).collect();
    open.retain(|address, (blocks, _tasks)| gateways.contains(address) && blocks == subnets);
    let mut done = Ok(());
    for address in gateways {
        if open.contains_key(&address) {
            continue;
        }
        let desk = Desk {
            books: Books::default(),
            upstreams: upstream::RESOLV_CONF.into(),
            subnets: subnets.to_vec(),
            room: room.clone(),
            meters: meters.clone(),
        };
        match start(address, desk) {
            Ok(tasks) => drop(open.insert(address, (subnets.to_vec(), tasks))),
            Err(error) => done = Err((address, error)),
        }
    }
    done
}

/// Whole or not at all; nobody listens where there is no file.
fn tell(path: &Path, text: &str) -> io::Result<()> {
    if text.is_empty() {
        return match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _gone => Ok(()),
        };
    }
    let new = path.with_extension("new");
    std::fs::write(&new, text)?;
    std::fs::rename(new, path)
}

/// Listens at one address; both tasks run for ever, or until they are dropped.
fn start(address: IpAddr, desk: Desk) -> io::Result<JoinSet<()>> {
    let at = SocketAddr::new(address, PORT);
    let datagrams = Arc::new(bind(at)?);
    let connections = listen(at)?;
    let desk = Arc::new(desk);
    let mut tasks = JoinSet::new();
    tasks.spawn(hear(datagrams, desk.clone()));
    tasks.spawn(accept(connections, desk));
    Ok(tasks)
}

/// Before there is a bridge, too.
fn bind_freely(socket: &impl AsFd, at: SocketAddr) -> io::Result<()> {
    let socket = socket.as_fd();
    let done =
        if at.is_ipv4() { set_ip_freebind(socket, true) } else { set_ipv6_freebind(socket, true) };
    Ok(done?)
}

fn bind(at: SocketAddr) -> io::Result<UdpSocket> {
    let family = if at.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, SockType::Datagram, flags, None)?;
    bind_freely(&socket, at)?;
    socket::bind(socket.as_raw_fd(), &SockaddrStorage::from(at))?;
    UdpSocket::from_std(socket.into())
}

fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    bind_freely(&socket, at)?;
    socket.bind(at)?;
    socket.listen(64)
}

impl Desk {
    /// A container of this host: of the bridge, and not the bridge itself. Whoever of the host's own asks here
    /// would be asked in turn.
    fn serves(&self, asker: IpAddr) -> bool {
        self.subnets.iter().any(|it| it.contains(asker) && it.first_host() != asker)
    }

    /// `None` if there is nothing to be said.
    async fn reply(&self, question: &[u8], asker: IpAddr, way: upstream::Way) -> Option<Vec<u8>> {
        let book = self.books.now();
        let (outcome, reply) = match answer::answer(question, &book, asker) {
            Answer::Known(reply) => ("local", Some(reply)),
            Answer::Refused(reply) => ("refused", reply),
            Answer::Elsewhere => {
                let own: Vec<IpAddr> = self.subnets.iter().map(|it| it.first_host()).collect();
                let servers = match book.servers(asker) {
                    [] => upstream::servers(&self.upstreams, &own),
                    wished => wished.iter().copied().map(upstream::at).collect(),
                };
                match upstream::ask(question, &servers, way).await {
                    Some(reply) => ("forwarded", Some(reply)),
                    None => ("failed", answer::failed(question)),
                }
            }
        };
        self.meters.asked_for_name(outcome);
        reply
    }
}

async fn hear(socket: Arc<UdpSocket>, desk: Arc<Desk>) {
    let mut answers = JoinSet::new();
    let mut question = vec![0; 65_535];
    loop {
        while answers.try_join_next().is_some() {}
        let Ok((length, from)) = socket.recv_from(&mut question).await else {
            // A complaint about an earlier answer.
            tokio::task::yield_now().await;
            continue;
        };
        if !desk.serves(from.ip()) {
            desk.meters.asked_for_name("stranger");
            continue;
        }
        let Ok(room) = desk.room.clone().try_acquire_owned() else { continue };
        let (socket, desk, question) = (socket.clone(), desk.clone(), question[..length].to_vec());
        answers.spawn(async move {
            let _room = room;
            if let Some(reply) = desk.reply(&question, from.ip(), upstream::Way::Datagram).await {
                // Who does not take it asks again.
                drop(socket.send_to(&reply, from).await);
            }
        });
    }
}

async fn accept(listener: TcpListener, desk: Arc<Desk>) {
    let mut talks = JoinSet::new();
    // Whoever keeps connections open keeps nobody's questions out.
    let doors = Arc::new(Semaphore::new(MOST_TALKS));
    loop {
        while talks.try_join_next().is_some() {}
        let Ok((stream, from)) = listener.accept().await else {
            // Out of descriptors, perhaps.
            tokio::time::sleep(PERIOD).await;
            continue;
        };
        if !desk.serves(from.ip()) {
            desk.meters.asked_for_name("stranger");
            continue;
        }
        let Ok(door) = doors.clone().try_acquire_owned() else { continue };
        let desk = desk.clone();
        talks.spawn(async move {
            let _door = door;
            // Whoever hangs up has what he wanted.
            drop(talk(stream, from.ip(), &desk).await);
        });
    }
}

async fn talk(mut stream: TcpStream, asker: IpAddr, desk: &Desk) -> io::Result<()> {
    loop {
        let length = timeout(IDLE, stream.read_u16()).await??;
        let mut question = vec![0; length.into()];
        timeout(IDLE, stream.read_exact(&mut question)).await??;
        let room = desk.room.acquire().await.map_err(io::Error::other)?;
        let reply = desk.reply(&question, asker, upstream::Way::Connection).await;
        drop(room);
        let Some(reply) = reply else { return Ok(()) };
        let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
        let whole = [&length.to_be_bytes()[..], &reply].concat();
        timeout(IDLE, stream.write_all(&whole)).await??;
    }
}
