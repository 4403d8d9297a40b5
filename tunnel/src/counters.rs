//! What became of the packets, one number per reason.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::shortcut::{Tally, Totals};

macro_rules! events {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// What can become of a packet.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Event {
            $($(#[$doc])* $variant,)*
        }

        impl Event {
            /// Every event, in the order of declaration.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// The event's name for metrics and people.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

events! {
    /// Sent to a peer.
    Sent = "sent",
    /// Received from a peer and handed to the device.
    Received = "received",
    /// Fewer bytes than the header needs.
    Short = "short",
    /// Another version of IP than the tunnel has a block of, or no IP at all.
    NotIpv4 = "not_ipv4",
    /// The header's length disagrees with what came.
    LengthMismatch = "length_mismatch",
    /// The header's checksum is wrong.
    BadChecksum = "bad_checksum",
    /// The packet has made all its hops.
    Expired = "expired",
    /// No peer owns the destination.
    NoRoute = "no_route",
    /// Longer than the tunnel carries.
    TooBig = "too_big",
    /// The sender is no peer of ours.
    UnknownSender = "unknown_sender",
    /// The sender is a peer, and the inner source address is not one of its own.
    ForeignSource = "foreign_source",
    /// A peer sent us what belongs to another host.
    ForeignDestination = "foreign_destination",
    /// The underlay met congestion, and the packet cannot be told (RFC 6040).
    Congested = "congested",
    /// The answer of a peer's host: nobody listens there (`ECONNREFUSED`).
    Refused = "refused",
    /// The kernel had no room (`ENOBUFS`, `ENOMEM`).
    NoBuffers = "no_buffers",
    /// The underlay refused the size (`EMSGSIZE`).
    UnderlayTooSmall = "underlay_too_small",
    /// The underlay knows no way to the peer (`ENETUNREACH`, `EHOSTUNREACH`, `ENETDOWN`, `EPERM`).
    Unreachable = "unreachable",
    /// The device took no packet, because it is down or full.
    DeviceRefused = "device_refused",
    /// Any other error of the socket.
    SocketError = "socket_error",
    /// The kernel had no room for a packet on the shortcut.
    ShortcutLost = "shortcut_lost",
}

/// The numbers of one tunnel since it started.
#[derive(Debug, Default)]
pub struct Counters {
    events: [AtomicU64; Event::ALL.len()],
    bytes_sent: AtomicU64,
    bytes_received: AtomicU64,
    /// Of the programs that carry packets beside us, and what those before them counted.
    shortcut: Mutex<(Totals, Option<Arc<Tally>>)>,
}

impl Counters {
    /// How often `event` happened.
    #[must_use]
    pub fn count(&self, event: Event) -> u64 {
        let beside = match event {
            Event::Sent => self.shortcut().sent,
            Event::Received => self.shortcut().received,
            Event::ShortcutLost => self.shortcut().lost,
            _other => 0,
        };
        self.events[event as usize].load(Ordering::Relaxed) + beside
    }

    /// Of the packets that were sent and received, so many took the shortcut.
    #[must_use]
    pub fn by_shortcut(&self) -> (u64, u64) {
        let Totals { sent, received, .. } = self.shortcut();
        (sent, received)
    }

    /// The bytes of those packets.
    #[must_use]
    pub fn bytes_by_shortcut(&self) -> (u64, u64) {
        let Totals { bytes_sent, bytes_received, .. } = self.shortcut();
        (bytes_sent, bytes_received)
    }

    /// The bytes of all packets that were sent to peers, without what the underlay puts in front.
    #[must_use]
    pub fn bytes_sent(&self) -> u64 {
        self.bytes_sent.load(Ordering::Relaxed) + self.shortcut().bytes_sent
    }

    /// The bytes of all packets that were received from peers.
    #[must_use]
    pub fn bytes_received(&self) -> u64 {
        self.bytes_received.load(Ordering::Relaxed) + self.shortcut().bytes_received
    }

    /// Every event with its number.
    pub fn iter(&self) -> impl Iterator<Item = (Event, u64)> {
        Event::ALL.into_iter().map(|event| (event, self.count(event)))
    }

    fn shortcut(&self) -> Totals {
        let shortcut = self.shortcut.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, tally) = &*shortcut;
        before.and(tally.as_ref().map(|tally| tally.totals()).unwrap_or_default())
    }

    /// From now on these programs count, too; what those before them counted stays.
    pub(crate) fn beside(&self, tally: Option<Arc<Tally>>) {
        let mut shortcut = self.shortcut.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, last) = &mut *shortcut;
        if let Some(last) = std::mem::replace(last, tally) {
            *before = before.and(last.totals());
        }
    }

    pub(crate) fn add(&self, event: Event) {
        self.add_many(event, 1);
    }

    pub(crate) fn add_many(&self, event: Event, count: usize) {
        self.events[event as usize].fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self, count: usize, bytes: usize) {
        self.add_many(Event::Sent, count);
        self.bytes_sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn received(&self, count: usize, bytes: usize) {
        self.add_many(Event::Received, count);
        self.bytes_received.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_its_own_number_and_name() {
        let counters = Counters::default();
        for (position, event) in Event::ALL.into_iter().enumerate() {
            assert_eq!(event as usize, position);
            (0..=position).for_each(|_time| counters.add(event));
        }
        let counts: Vec<u64> = counters.iter().map(|(_event, count)| count).collect();
        assert_eq!(counts, (1..=Event::ALL.len() as u64).collect::<Vec<_>>());
        let names: std::collections::BTreeSet<_> = Event::ALL.iter().map(|e| e.name()).collect();
        assert_eq!(names.len(), Event::ALL.len());
    }

    #[test]
    fn a_packet_that_crosses_is_counted_with_its_bytes() {
        let counters = Counters::default();
        counters.sent(2, 1492);
        counters.received(1, 28);
        assert_eq!((counters.count(Event::Sent), counters.bytes_sent()), (2, 1492));
        assert_eq!((counters.count(Event::Received), counters.bytes_received()), (1, 28));
    }
}
