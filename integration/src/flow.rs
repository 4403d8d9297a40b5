//! TCP between two endpoints, byte for byte.
//!
//! The sockets are made inside the endpoints' network namespaces and driven from here, so the
//! bytes travel exactly as a container's own would, and both ends can be compared.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use sha2::{Digest, Sha256};

use crate::container::Endpoint;
use crate::wait;

/// How long a socket may make no progress at all before that is a failure.
const STALL: Duration = Duration::from_secs(30);

/// What is written at once.
const BLOCK: usize = 64 * 1024;

/// Moves `bytes` bytes, no two blocks alike, and compares the SHA-256 of what was sent with that
/// of what arrived. Answers how long that took.
///
/// # Errors
/// When the connection fails or stalls, or a single byte differs.
pub fn transfer(from: &Endpoint, to: &Endpoint, bytes: u64) -> Result<Duration> {
    let (mut sender, mut receiver) = connect(from, to)?;
    let start = Instant::now();
    let receiving = thread::spawn(move || -> Result<_> {
        let (mut hash, mut block, mut total) = (Sha256::new(), vec![0; BLOCK], 0_u64);
        loop {
            let length = receiver.read(&mut block).context("the receiver failed")?;
            if length == 0 {
                return Ok((total, hash.finalize()));
            }
            hash.update(&block[..length]);
            total += length as u64;
        }
    });
    let (mut hash, mut numbers, mut left) = (Sha256::new(), Numbers::default(), bytes);
    while left > 0 {
        let block = numbers.block();
        let part = &block[..block.len().min(usize::try_from(left)?)];
        sender.write_all(part).context("the sender failed")?;
        hash.update(part);
        left -= part.len() as u64;
    }
    sender.shutdown(Shutdown::Write)?;
    let (total, arrived) = joined(receiving)?;
    ensure!(total == bytes, "{total} of {bytes} bytes arrived");
    ensure!(arrived == hash.finalize(), "{bytes} bytes arrived, but not those that were sent");
    Ok(start.elapsed())
}

/// How fast one TCP stream is, in Mbit/s that have arrived, over about `length`.
///
/// # Errors
/// When the connection fails or stalls.
pub fn throughput(from: &Endpoint, to: &Endpoint, length: Duration) -> Result<f64> {
    let (mut sender, mut receiver) = connect(from, to)?;
    let start = Instant::now();
    let receiving = thread::spawn(move || -> Result<_> {
        let (mut block, mut megabits) = (vec![0; BLOCK], 0.0);
        loop {
            match receiver.read(&mut block).context("the receiver failed")? {
                0 => return Ok(megabits),
                length => megabits += f64::from(u32::try_from(length)?) * 8.0 / 1e6,
            }
        }
    });
    let block = vec![0; BLOCK];
    while start.elapsed() < length {
        sender.write_all(&block).context("the sender failed")?;
    }
    sender.shutdown(Shutdown::Write)?;
    let arrived = joined(receiving)?;
    Ok(arrived / start.elapsed().as_secs_f64())
}

/// A TCP connection that carries numbered words for as long as it is wanted.
#[derive(Debug)]
pub struct Flow {
    stop: Arc<AtomicBool>,
    news: Arc<News>,
    sending: JoinHandle<Result<u64>>,
    receiving: JoinHandle<Result<u64>>,
}

/// What the receiver tells while it runs.
#[derive(Debug, Default)]
struct News {
    arrived: AtomicU64,
    /// In microseconds.
    silence: AtomicU64,
}

impl Flow {
    /// Connects and starts to send, as fast as it goes.
    ///
    /// # Errors
    /// When the connection cannot be made.
    pub fn start(from: &Endpoint, to: &Endpoint) -> Result<Self> {
        Self::paced(from, to, Duration::ZERO)
    }

    /// Connects and starts to send, with a pause after each 64 KiB: for tests that watch a flow
    /// and need the machine for something else.
    ///
    /// # Errors
    /// When the connection cannot be made.
    pub fn paced(from: &Endpoint, to: &Endpoint, pause: Duration) -> Result<Self> {
        let (sender, receiver) = connect(from, to)?;
        let (stop, news) = (Arc::new(AtomicBool::new(false)), Arc::new(News::default()));
        let (stop_too, news_too) = (stop.clone(), news.clone());
        let sending = thread::spawn(move || send(sender, (&stop_too, pause)));
        let receiving = thread::spawn(move || receive(receiver, &news_too));
        Ok(Self { stop, news, sending, receiving })
    }

    /// How many bytes have arrived, each the one that was due.
    pub fn arrived(&self) -> u64 {
        self.news.arrived.load(Ordering::Relaxed)
    }

    /// The longest time in which nothing arrived, so far.
    pub fn longest_silence(&self) -> Duration {
        Duration::from_micros(self.news.silence.load(Ordering::Relaxed))
    }

    /// The longest time in which nothing arrived, since this was asked last.
    pub fn take_silence(&self) -> Duration {
        Duration::from_micros(self.news.silence.swap(0, Ordering::Relaxed))
    }

    /// Ends the flow and answers how many bytes it has carried, all of them in order.
    ///
    /// # Errors
    /// When a byte was lost, doubled or changed, or the connection broke.
    pub fn finish(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let (sent, arrived) = (joined(self.sending), joined(self.receiving));
        let (sent, arrived) = (sent?, arrived?);
        ensure!(sent == arrived, "{sent} bytes were sent, {arrived} arrived");
        Ok(arrived)
    }
}

fn send(mut sender: TcpStream, (stop, pause): (&AtomicBool, Duration)) -> Result<u64> {
    let (mut numbers, mut total) = (Numbers::default(), 0);
    while !stop.load(Ordering::Relaxed) {
        let block = numbers.block();
        sender.write_all(&block).context("the sender failed")?;
        total += block.len() as u64;
        wait::pace(pause);
    }
    sender.shutdown(Shutdown::Write)?;
    Ok(total)
}

fn receive(mut receiver: TcpStream, news: &News) -> Result<u64> {
    let (mut due, mut block, mut total) = (Numbers::default(), vec![0; BLOCK], 0_u64);
    let mut last = Instant::now();
    loop {
        match receiver.read_exact(&mut block) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(total),
            Err(error) => return Err(error).context("the receiver failed"),
        }
        ensure!(block == due.block(), "wrong bytes arrived after {total} right ones");
        total += BLOCK as u64;
        news.arrived.store(total, Ordering::Relaxed);
        let silence = u64::try_from(last.elapsed().as_micros()).unwrap_or(u64::MAX);
        news.silence.fetch_max(silence, Ordering::Relaxed);
        last = Instant::now();
    }
}

// Counting words: whatever is lost, doubled or moved no longer matches.
#[derive(Default)]
struct Numbers {
    next: u64,
}

impl Numbers {
    fn block(&mut self) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        for word in block.chunks_exact_mut(size_of::<u64>()) {
            word.copy_from_slice(&self.next.to_ne_bytes());
            self.next += 1;
        }
        block
    }
}

fn connect(from: &Endpoint, to: &Endpoint) -> Result<(TcpStream, TcpStream)> {
    let what = || format!("from {} to {} ({})", from.name, to.name, to.address);
    let listener = to.within(|| Ok(TcpListener::bind((to.address, 0))?))?;
    let port = listener.local_addr()?.port();
    let address = (to.address, port).into();
    let connect = || Ok(TcpStream::connect_timeout(&address, Duration::from_secs(10))?);
    let sender = from.within(connect).with_context(|| format!("no connection {}", what()))?;
    let (receiver, peer) = listener.accept()?;
    // What a peer sees is the container's own address: nothing translates on the way.
    ensure!(peer.ip() == from.address, "{} appears as {peer}", what());
    for socket in [&sender, &receiver] {
        socket.set_read_timeout(Some(STALL))?;
        socket.set_write_timeout(Some(STALL))?;
    }
    Ok((sender, receiver))
}

fn joined<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    thread.join().map_err(|panic| anyhow!("a thread panicked: {panic:?}"))?
}
