//! Why a packet was refused, and how many were.

/// Why a packet was refused.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Refusal {
    /// Encapsulated, and no peer has sent it.
    Stranger,
    /// Encapsulated by a peer that must not send what is inside: its source is not the peer's, or its
    /// destination not this host's, or it is no IPv4.
    Inner,
    /// Sent on this host with an address that does not live where it came from.
    Container,
    /// Came from the underlay as it is, with an address of the overlay.
    Underlay,
}

impl Refusal {
    /// All of them, in the order of the table's counters.
    pub const ALL: [Self; 4] = [Self::Stranger, Self::Inner, Self::Container, Self::Underlay];

    /// The counter's name.
    #[must_use]
    pub const fn counter(self) -> &'static str {
        match self {
            Self::Stranger => "refused_stranger",
            Self::Inner => "refused_inner",
            Self::Container => "refused_container",
            Self::Underlay => "refused_underlay",
        }
    }
}

/// What a counter says.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Count {
    /// Packets so far.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What all of them say.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Refused([Count; Refusal::ALL.len()]);

impl Refused {
    /// One of them.
    #[must_use]
    pub fn count(&self, refusal: Refusal) -> Count {
        self.0[refusal as usize]
    }

    /// Sets the counter of that name, if it is one of these.
    pub fn set(&mut self, counter: &str, count: Count) {
        if let Some(refusal) = Refusal::ALL.into_iter().find(|it| it.counter() == counter) {
            self.0[refusal as usize] = count;
        }
    }

    /// Those of another table on top.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            count.packets += more.packets;
            count.bytes += more.bytes;
        }
        self
    }

    /// Each with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Refusal, Count)> {
        Refusal::ALL.into_iter().map(|refusal| (refusal, self.count(refusal)))
    }
}
