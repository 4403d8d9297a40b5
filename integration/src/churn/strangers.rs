//! Hosts that are nothing but a lease, and do not keep still.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Result, anyhow};
use etcd_client::{Client, PutOptions};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::runtime::Builder;

use crate::container::Endpoint;
use crate::etcd;
use crate::host::Host;
use crate::wait::pace;

/// How many there may be at once.
const MOST: u8 = 100;
/// The third byte of the first one's subnet, 10.88.100.0/24.
const FIRST: u8 = 100;
/// The longest time in which nothing happens.
const REST: Duration = Duration::from_millis(100);
/// Longer than any soak, in seconds.
const TTL: i64 = 7 * 24 * 60 * 60;

/// They come and go until this is finished.
#[derive(Debug)]
pub(super) struct Strangers {
    stop: Arc<AtomicBool>,
    writing: JoinHandle<Result<u64>>,
    sending: JoinHandle<()>,
}

/// Where they stand at a moment.
struct Book {
    client: Client,
    lease: i64,
    chance: StdRng,
    /// Subnets that are somebody's.
    taken: Vec<String>,
    here: [bool; MOST as usize],
    events: u64,
}

impl Strangers {
    /// In the etcd of `host`, beside the subnets `taken`; `pod` sends datagrams to all of them.
    pub(super) fn start(
        (host, taken): (&Host, &[String]),
        pod: &Endpoint,
        seed: u64,
    ) -> Result<Self> {
        let stop = Arc::<AtomicBool>::default();
        let (host, taken, ends) = (host.clone(), taken.to_vec(), stop.clone());
        let writing = thread::spawn(move || {
            host.within(|| {
                let runtime = Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(come_and_go((taken, seed), &ends))
            })
        });
        let socket = pod.within(|| Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?))?;
        let ends = stop.clone();
        let sending = thread::spawn(move || {
            for number in (0..MOST).cycle() {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                // Nobody has it, and the kernel may say so.
                socket.send_to(&[0; 200], (Ipv4Addr::new(10, 88, FIRST + number, 2), 9)).ok();
                pace(REST / 10);
            }
        });
        Ok(Self { stop, writing, sending })
    }

    /// Lets all of them go; answers how often one came, moved or went.
    pub(super) fn finish(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.sending.join().map_err(|panic| anyhow!("a sender panicked: {panic:?}"))?;
        self.writing.join().map_err(|panic| anyhow!("a writer panicked: {panic:?}"))?
    }
}

async fn come_and_go((taken, seed): (Vec<String>, u64), stop: &AtomicBool) -> Result<u64> {
    let mut client = Client::connect([etcd::ENDPOINT], None).await?;
    let lease = client.lease_grant(TTL, None).await?.id();
    let (here, events) = ([false; MOST as usize], 0);
    let mut book = Book { client, lease, chance: StdRng::seed_from_u64(seed), taken, here, events };
    // Once all of them.
    book.crowd(true).await?;
    while !stop.load(Ordering::Relaxed) {
        let number = book.chance.random_range(0..MOST);
        match book.chance.random_range(0..20_u8) {
            0 => book.crowd(true).await?,
            1 => book.crowd(false).await?,
            // One that is there moves.
            2..7 => book.comes(number).await?,
            _other if book.here[usize::from(number)] => book.goes(number).await?,
            _other => book.comes(number).await?,
        }
        // The pace of what happens, and no wait for anything.
        let rest = REST.mul_f64(book.chance.random_range(0.0..1.0));
        tokio::time::sleep(rest).await;
    }
    book.crowd(false).await?;
    book.client.lease_revoke(lease).await?;
    Ok(book.events)
}

impl Book {
    async fn crowd(&mut self, here: bool) -> Result<()> {
        for number in 0..MOST {
            match (here, self.here[usize::from(number)]) {
                (true, false) => self.comes(number).await?,
                (false, true) => self.goes(number).await?,
                _already => {}
            }
        }
        Ok(())
    }

    /// As flanneld writes it; somewhere on the link, or behind the router.
    async fn comes(&mut self, number: u8) -> Result<()> {
        let Some(key) = self.key(number) else { return Ok(()) };
        // An address has one owner: of two leases with the same one only the newer counts.
        let address = match self.chance.random_range(0..4_u8) {
            0 => format!("192.168.140.{}", FIRST + number),
            network => format!("172.16.{network}.{number}"),
        };
        let value = format!(r#"{{"PublicIP":"{address}","PublicIPv6":null}}"#);
        let options = PutOptions::new().with_lease(self.lease);
        self.client.put(key, value, Some(options)).await?;
        self.here[usize::from(number)] = true;
        self.events += 1;
        Ok(())
    }

    async fn goes(&mut self, number: u8) -> Result<()> {
        let Some(key) = self.key(number) else { return Ok(()) };
        self.client.delete(key, None).await?;
        self.here[usize::from(number)] = false;
        self.events += 1;
        Ok(())
    }

    /// `None` for a subnet that is somebody's.
    fn key(&self, number: u8) -> Option<String> {
        let block = format!("10.88.{}", FIRST + number);
        let is_taken = self.taken.iter().any(|taken| taken.starts_with(&format!("{block}.")));
        (!is_taken).then(|| format!("/coreos.com/network/subnets/{block}.0-24"))
    }
}
