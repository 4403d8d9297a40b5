//! ICMP echoes: is a host there, and how far away?

use std::net::IpAddr;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::iter;
use surge_ping::{Client, Config, ICMP, PingIdentifier, PingSequence};
use twill_core::doctor::Echoes;

use crate::Error;
use crate::netns::Netns;

/// Packets for each address.
const EACH: u16 = 3;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// Addresses that are asked at the same time.
const AT_ONCE: usize = 64;

/// Asks every address three times, a second at most for each, and answers in their order. All of them
/// are of one family.
///
/// # Errors
///
/// When this process may not send echoes at all: neither as a raw socket nor by `ping_group_range`.
pub async fn ping(addresses: &[IpAddr]) -> Result<Vec<Echoes>, Error> {
    let kind = if addresses.iter().any(IpAddr::is_ipv6) { ICMP::V6 } else { ICMP::V4 };
    let config = Config::builder().kind(kind).build();
    let client = Client::new(&config).map_err(|source| Error::Echo { source })?;
    let numbered = (0..=u16::MAX).zip(addresses.iter().copied());
    let asked = numbered.map(|(number, address)| ask(&client, address, PingIdentifier(number)));
    Ok(iter(asked).buffered(AT_ONCE).collect().await)
}

/// What is in a packet by itself, in bytes.
pub const USUAL: usize = 56;

/// Asks one address three times, out of `netns` or of the calling thread's own namespace. The packets
/// carry so many bytes besides the headers, and may not be cut on the way (`IP_PMTUDISC_WANT`).
///
/// # Errors
///
/// When this process may not send echoes, or not from there.
pub async fn ping_from(
    netns: Option<&Netns>,
    address: IpAddr,
    payload: usize,
) -> Result<Echoes, Error> {
    let client = {
        // The socket belongs to the namespace that it is born in; nothing waits before this ends.
        let within = netns.map(Netns::enter).transpose();
        let _within = within.map_err(|source| Error::EchoWithin { source })?;
        let kind = if address.is_ipv4() { ICMP::V4 } else { ICMP::V6 };
        let config = Config::builder().kind(kind).build();
        Client::new(&config).map_err(|source| Error::Echo { source })?
    };
    Ok(ask_with(&client, address, (PingIdentifier(own_ident()), payload)).await)
}

/// Two askers at one time must not take each other's answers.
fn own_ident() -> u16 {
    u16::try_from(std::process::id() & 0xffff).unwrap_or_default()
}

async fn ask(client: &Client, address: IpAddr, ident: PingIdentifier) -> Echoes {
    ask_with(client, address, (ident, USUAL)).await
}

async fn ask_with(
    client: &Client,
    address: IpAddr,
    (ident, payload): (PingIdentifier, usize),
) -> Echoes {
    let mut pinger = client.pinger(address, ident).await;
    pinger.timeout(PATIENCE);
    let (mut answered, mut total) = (0, Duration::ZERO);
    let bytes = vec![0; payload];
    for sequence in 0..EACH {
        // Why there is no answer is the next question; here it is one.
        if let Ok((_packet, took)) = pinger.ping(PingSequence(sequence), &bytes).await {
            answered += 1;
            total += took;
        }
    }
    let mean = total.checked_div(answered).unwrap_or_default();
    Echoes { sent: EACH.into(), answered, mean }
}
