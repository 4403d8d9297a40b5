//! Numbered datagrams between all containers, at a steady rate, so that each that is lost is known by its
//! number and its time.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::sys::socket::{setsockopt, sockopt};
use twill_core::ids::Family;

use super::ledger::{Ledger, Loss, Way};
use crate::container::Endpoint;
use crate::wait::{pace, probe, wait_until};

/// From one datagram to the next, on each way.
const PERIOD: Duration = Duration::from_millis(20);

/// On which port each container listens.
const PORT: u16 = 7070;

/// What a receiver keeps that has to wait for a busy machine, in bytes: half a minute's datagrams.
const BUFFER: usize = 8 << 20;

/// How long a receiver may sleep before it looks whether it is the end.
const NAP: Duration = Duration::from_millis(200);

/// A datagram that is not there by then is lost.
const LATE: Duration = Duration::from_secs(5);

/// How long packets may take to flow again once all is as it should be.
const FLOWS: Duration = Duration::from_secs(20);

/// Everybody sends to everybody.
#[derive(Debug)]
pub(super) struct Traffic {
    shared: Arc<Shared>,
    sender: JoinHandle<()>,
    receivers: Vec<JoinHandle<Result<()>>>,
}

#[derive(Debug)]
struct Shared {
    start: Instant,
    ends: Vec<End>,
    ledger: Mutex<Ledger>,
    /// No more is sent; and no more is received.
    silent: AtomicBool,
    deaf: AtomicBool,
}

/// An address of a container.
#[derive(Debug)]
struct End {
    /// By its place among the hosts.
    host: usize,
    address: IpAddr,
}

impl End {
    fn family(&self) -> Family {
        Family::of(self.address)
    }

    /// From here to there, which is on another host and of the same family.
    fn way_to(&self, there: &Self) -> Option<Way> {
        let (from, to, family) = (self.host, there.host, self.family());
        (from != to && there.family() == family).then_some(Way { from, to, family })
    }
}

impl Traffic {
    /// Begins, between one container of each host, by addresses of these families.
    pub(super) fn start(containers: &[Endpoint], families: &[Family]) -> Result<Self> {
        let (mut ends, mut sockets) = (Vec::new(), Vec::new());
        for (host, container) in containers.iter().enumerate() {
            let addresses = [Some(container.address), container.ipv6].into_iter().flatten();
            for address in addresses.filter(|address| families.contains(&Family::of(*address))) {
                ends.push(End { host, address });
                sockets.push(socket(container, address)?);
            }
        }
        ensure!(ends.len() == containers.len() * families.len(), "containers lack addresses");
        let shared = Arc::new(Shared {
            start: Instant::now(),
            ends,
            ledger: Mutex::default(),
            silent: AtomicBool::new(false),
            deaf: AtomicBool::new(false),
        });
        let receivers = sockets.iter().enumerate().map(|(here, socket)| {
            let (shared, socket) = (shared.clone(), socket.try_clone()?);
            Ok(thread::spawn(move || shared.receive(here, &socket)))
        });
        let receivers = receivers.collect::<Result<_>>()?;
        let sending = shared.clone();
        let sender = thread::spawn(move || sending.send(&sockets));
        Ok(Self { shared, sender, receivers })
    }

    /// The time of the ledger.
    pub(super) fn now(&self) -> Duration {
        self.shared.now()
    }

    /// What a fault that begins now may hit: the first number of each way.
    pub(super) fn under_way(&self, ways: &[Way]) -> Vec<(Way, usize)> {
        let ledger = self.shared.ledger();
        ways.iter().map(|way| (*way, ledger.under_way(*way))).collect()
    }

    /// Waits until something that was sent after `healed` has come through on each of these ways, and
    /// excuses what was lost before that; answers how long after `healed` the last of them was sent.
    pub(super) fn flows_again(
        &self,
        hit: Vec<(Way, usize)>,
        healed: Duration,
        fault: usize,
    ) -> Result<Duration> {
        let mut longest = Duration::ZERO;
        for (way, first) in hit {
            let what =
                || format!("{} reaches {} again by {}", name(way.from), name(way.to), way.family);
            let came = || self.shared.ledger().first_since(way, healed);
            let ((end, sent), _took) = probe(&what(), FLOWS, came)?;
            self.shared.ledger().excuse(way, first..end.max(first), fault);
            longest = longest.max(sent.saturating_sub(healed));
        }
        Ok(longest)
    }

    /// Fails if a datagram that should be there by now is not, and no fault explains it; and if one came
    /// that should not have.
    pub(super) fn check(&mut self) -> Result<()> {
        for ended in self.receivers.extract_if(.., |receiver| receiver.is_finished()) {
            joined(ended)??;
        }
        self.shared.judge(self.now().saturating_sub(LATE))
    }

    /// Ends it; answers how many were sent, and the books.
    pub(super) fn finish(mut self) -> Result<Ledger> {
        self.shared.silent.store(true, Ordering::Relaxed);
        joined(self.sender)?;
        let all = Duration::MAX;
        let complete = || self.shared.ledger().unexplained(all).is_empty();
        // What is not complete by then is judged below.
        drop(wait_until("all datagrams have arrived", LATE, complete));
        self.shared.deaf.store(true, Ordering::Relaxed);
        for receiver in std::mem::take(&mut self.receivers) {
            joined(receiver)??;
        }
        self.shared.judge(all)?;
        Ok(std::mem::take(&mut self.shared.ledger()))
    }
}

impl Shared {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    // Whoever panicked with the books in his hands has said so.
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn judge(&self, before: Duration) -> Result<()> {
        let lost = self.ledger().unexplained(before);
        if lost.is_empty() {
            return Ok(());
        }
        let lines: Vec<String> = spans(&lost).iter().map(ToString::to_string).collect();
        bail!("{} datagrams were lost without a reason:\n{}", lost.len(), lines.join("\n"))
    }

    fn send(&self, sockets: &[UdpSocket]) {
        let mut due = Instant::now();
        while !self.silent.load(Ordering::Relaxed) {
            for (from, socket) in sockets.iter().enumerate() {
                for (to, end) in self.ends.iter().enumerate() {
                    let Some(way) = self.ends[from].way_to(end) else { continue };
                    let number = self.ledger().sends(way, self.now());
                    let words = [from, to, number].map(|word| (word as u64).to_be_bytes());
                    // What cannot be sent is lost, and the books know it.
                    socket.send_to(words.as_flattened(), (end.address, PORT)).ok();
                }
            }
            // Who was kept waiting does not catch up: that would be another rate.
            due = (due + PERIOD).max(Instant::now());
            pace(due.saturating_duration_since(Instant::now()));
        }
    }

    fn receive(&self, here: usize, socket: &UdpSocket) -> Result<()> {
        let mut bytes = [0; 64];
        while !self.deaf.load(Ordering::Relaxed) {
            match socket.recv_from(&mut bytes) {
                Ok((length, source)) => self.arrives(here, &bytes[..length], source)?,
                Err(error) if came_to_nothing(error.kind()) => {}
                Err(error) => return Err(error).context("a receiver failed"),
            }
        }
        Ok(())
    }

    fn arrives(&self, here: usize, bytes: &[u8], source: SocketAddr) -> Result<()> {
        let words = bytes.as_chunks::<8>().0;
        let words: Vec<usize> = words
            .iter()
            .map(|word| u64::from_be_bytes(*word).try_into())
            .collect::<Result<_, _>>()?;
        let [from, to, number] = words[..] else { bail!("{source} sent something else") };
        let sender = self.ends.get(from).context("nobody has that number")?;
        let way = sender.way_to(&self.ends[here]).filter(|_way| to == here);
        let way = way
            .with_context(|| format!("{} has got {number} for {to}", name(self.ends[here].host)))?;
        // Nothing translates on the way.
        ensure!(source.ip() == sender.address, "{} appears as {source}", name(sender.host));
        let arrived = self.ledger().arrives(way, number);
        arrived.map_err(|strange| anyhow!("{way:?} {number}: {strange:?}"))
    }
}

/// Losses of one way that follow each other.
struct Span {
    first: Loss,
    last: Loss,
    count: usize,
}

fn spans(losses: &[Loss]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for loss in losses {
        match spans.last_mut() {
            Some(span) if span.last.way == loss.way && span.last.number + 1 == loss.number => {
                (span.last, span.count) = (*loss, span.count + 1);
            }
            _other => spans.push(Span { first: *loss, last: *loss, count: 1 }),
        }
    }
    spans
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { first, last, count } = self;
        let (from, to) = (name(first.way.from), name(first.way.to));
        let [begin, end] = [first, last].map(|loss| loss.sent.as_secs_f64());
        let family = first.way.family;
        write!(f, "{begin:9.3} to {end:.3} s: {count} of {family} from {from} to {to}")
    }
}

/// Of the host at that place.
pub(super) fn name(place: usize) -> String {
    format!("node{}", place + 1)
}

fn socket(container: &Endpoint, address: IpAddr) -> Result<UdpSocket> {
    let bind = || Ok(UdpSocket::bind((address, PORT))?);
    let socket = container.within(bind).context("cannot listen in a container")?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
    socket.set_read_timeout(Some(NAP))?;
    Ok(socket)
}

fn came_to_nothing(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn joined<T>(thread: JoinHandle<T>) -> Result<T> {
    thread.join().map_err(|panic| anyhow!("a thread panicked: {panic:?}"))
}
