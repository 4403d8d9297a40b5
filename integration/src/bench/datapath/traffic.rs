//! The kinds of traffic: plain sockets of the standard library, born in the network namespaces of both
//! ends and driven from threads of this process.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};

use super::lane::{End, Lane};
use super::load::{Load, STALL, Tally};

/// What is written to a stream at once.
const BLOCK: usize = 128 * 1024;
/// What a receiver of datagrams may keep while its thread waits for a processor.
const BUFFER: usize = 4 << 20;
/// How long a receiver of datagrams may sleep before it looks whether it is the end.
const NAP: Duration = Duration::from_millis(100);

/// Which end sends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Direction {
    There,
    Back,
    /// Half of the streams this way, half of them that way.
    Both,
}

/// So many TCP streams at full speed; counts bytes.
pub(super) fn bulk(lane: &Lane, (streams, direction): (usize, Direction)) -> Result<Load> {
    let mut load = Load::default();
    for number in 0..streams {
        let back = match direction {
            Direction::There => false,
            Direction::Back => true,
            Direction::Both => number % 2 == 1,
        };
        let (from, to) = if back { (&lane.far, &lane.near) } else { (&lane.near, &lane.far) };
        let (sender, receiver) = connect(from, to)?;
        add_stream(&mut load, (sender, receiver), Counts::Bytes)?;
    }
    Ok(load)
}

/// What is counted of a stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Counts {
    Bytes,
    Nothing,
}

/// One more stream of a load.
pub(super) fn add_stream(
    load: &mut Load,
    (mut sender, mut receiver): (TcpStream, TcpStream),
    counts: Counts,
) -> Result<()> {
    load.cut_at_the_end(&sender)?;
    load.cut_at_the_end(&receiver)?;
    load.spawn(move |tally| {
        let block = vec![0x5a; BLOCK];
        while tally.goes_on() {
            let sent = sender.write_all(&block).context("a sender failed");
            if sent.is_err() {
                return tally.unless_over(sent);
            }
        }
        Ok(())
    });
    load.spawn(move |tally| {
        let mut block = vec![0; BLOCK];
        loop {
            match receiver.read(&mut block) {
                Ok(0) => return tally.unless_over(Err(anyhow!("a stream ended"))),
                Ok(length) if counts == Counts::Bytes => tally.arrives(length as u64),
                Ok(_length) => {}
                Err(error) => {
                    return tally.unless_over(Err(error).context("a receiver failed"));
                }
            }
        }
    });
    Ok(())
}

/// One flow of datagrams as fast as they can be sent; counts those that arrive.
pub(super) fn datagrams(lane: &Lane, payload: usize) -> Result<Load> {
    let receiver = lane.far.within(|| Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?))?;
    let to = SocketAddr::from((lane.far.address, receiver.local_addr()?.port()));
    let sender = lane.near.within(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(to)?;
        Ok(socket)
    })?;
    setsockopt(&receiver, sockopt::RcvBufForce, &BUFFER)?;
    receiver.set_read_timeout(Some(NAP))?;
    let mut load = Load::default();
    load.spawn(move |tally| {
        let bytes = vec![0x5a; payload];
        while tally.goes_on() {
            match sender.send(&bytes) {
                Ok(_sent) => tally.sends(),
                // The device's queue is full, or nobody listens yet.
                Err(error) if is_of_the_moment(&error) => {}
                Err(error) => return Err(error).context("a sender of datagrams failed"),
            }
        }
        Ok(())
    });
    load.spawn(move |tally| {
        let mut bytes = vec![0; payload + 1];
        while tally.goes_on() {
            match receiver.recv(&mut bytes) {
                Ok(length) if length == payload => tally.arrives(1),
                Ok(length) => bail!("{length} bytes came of {payload}"),
                Err(error) if came_to_nothing(&error) => {}
                Err(error) => return Err(error).context("a receiver of datagrams failed"),
            }
        }
        Ok(())
    });
    Ok(load)
}

/// One byte there and one back, over and over, on so many connections; counts answers.
pub(super) fn requests(lane: &Lane, flows: usize) -> Result<Load> {
    let mut load = Load::default();
    for _flow in 0..flows {
        let (mut client, mut server) = connect(&lane.near, &lane.far)?;
        load.cut_at_the_end(&client)?;
        load.cut_at_the_end(&server)?;
        load.spawn(move |tally| {
            let mut echo = || -> Result<()> {
                let mut byte = [0];
                loop {
                    server.read_exact(&mut byte)?;
                    server.write_all(&byte)?;
                }
            };
            tally.unless_over(echo().context("a server failed"))
        });
        load.spawn(move |tally| {
            let mut took = Vec::new();
            let asked = asks(tally, &mut took, || {
                let mut byte = [1];
                client.write_all(&byte)?;
                Ok(client.read_exact(&mut byte)?)
            });
            tally.took(took);
            tally.unless_over(asked.context("a client failed"))
        });
    }
    Ok(load)
}

/// Connects, asks one byte, is answered and left, over and over; counts connections.
///
/// The server closes first: what is left of a connection is left there, and no port of the client's is
/// held.
pub(super) fn connections(lane: &Lane) -> Result<Load> {
    let listener = lane.far.within(|| Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?))?;
    let to = SocketAddr::from((lane.far.address, listener.local_addr()?.port()));
    let mut load = Load::default();
    listener.set_nonblocking(true)?;
    load.spawn(move |tally| {
        while tally.goes_on() {
            match listener.accept() {
                Ok((stream, _client)) => {
                    let answered = answer(stream).context("a server failed");
                    tally.unless_over(answered)?;
                }
                Err(error) if came_to_nothing(&error) => {
                    let mut listening = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
                    poll(&mut listening, PollTimeout::try_from(NAP)?)?;
                }
                Err(error) => return Err(error).context("a server failed"),
            }
        }
        Ok(())
    });
    let near = lane.near.clone();
    load.spawn(move |tally| {
        near.within(|| {
            let mut took = Vec::new();
            let asked = asks(tally, &mut took, || {
                let mut stream = TcpStream::connect_timeout(&to, STALL)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(STALL))?;
                stream.write_all(&[1])?;
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer)?;
                ensure!(answer == [1], "a server answered {answer:?}");
                Ok(())
            });
            tally.took(took);
            tally.unless_over(asked.context("a client failed"))
        })
    });
    Ok(load)
}

fn answer(mut stream: TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(STALL))?;
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    Ok(stream.write_all(&byte)?)
}

/// Again and again until the end.
fn asks(tally: &Tally, took: &mut Vec<u64>, mut once: impl FnMut() -> Result<()>) -> Result<()> {
    while tally.goes_on() {
        let start = Instant::now();
        once()?;
        if tally.is_counting() {
            took.push(u64::try_from(start.elapsed().as_nanos())?);
        }
        tally.arrives(1);
    }
    Ok(())
}

/// A connection between two ends.
pub(super) fn connect(from: &End, to: &End) -> Result<(TcpStream, TcpStream)> {
    let listener = to.within(|| Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?))?;
    let address = SocketAddr::from((to.address, listener.local_addr()?.port()));
    let sender = from.within(|| Ok(TcpStream::connect_timeout(&address, STALL)?));
    let sender = sender.with_context(|| format!("no connection to {address}"))?;
    Ok((sender, listener.accept()?.0))
}

fn came_to_nothing(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn is_of_the_moment(error: &std::io::Error) -> bool {
    use nix::errno::Errno::{ECONNREFUSED, ENOBUFS};
    let number = error.raw_os_error().map(nix::errno::Errno::from_raw);
    came_to_nothing(error) || matches!(number, Some(ECONNREFUSED | ENOBUFS))
}
