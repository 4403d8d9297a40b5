//! The kernel's own way beside the tunnel: programs at its device and at the uplink carry what is ordinary,
//! in the same format, and leave the rest to the threads (`bpf/shortcut.c`).
//!
//! They are hooked in as filters of traffic control, which stay when this process dies: so packets go on
//! between hosts while an agent is away for a moment. Whoever comes next puts its own in their place, in one
//! step. If nobody does they end by themselves ([`LEAD`]), because nobody tells them then of peers that
//! come and go.

mod claim;
mod hook;
mod loader;
mod numbers;
mod table;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use aya::Ebpf;
use aya::maps::{Array, MapData, PerCpuArray};
use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};
use twill_core::ids::{Family, Subnet};

use crate::tunnel::Endpoint;
pub use claim::Claim;
use hook::Hook;
use loader::loader;
pub(crate) use numbers::Numbers;
use table::Table;

/// So long programs go on that nobody leads any more: an upgrade and a reboot of everything but the kernel
/// take less.
pub const LEAD: Duration = Duration::from_mins(15);

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/shortcut.o"));

const LIFT_PORT: &str = "lift_port";

/// Between which interfaces the shortcut leads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ground {
    /// The tunnel's device.
    pub device: Interface,
    /// The interface to the other hosts. It must be one of Ethernet.
    pub uplink: Interface,
    /// What mends super-packets, if there is such a thing.
    pub lift: Option<Lift>,
}

/// A network interface.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its number.
    pub index: u32,
}

/// A VXLAN device for any protocol (`external gpe`) through which super-packets come, because it takes the
/// marks of a tunnel off them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lift {
    /// Its name.
    pub name: String,
    /// Its UDP port, which nobody sends to.
    pub port: u16,
}

/// Why packets do not take the shortcut.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The programs carry IPv4 in IPv4 alone.
    #[error("it leads between addresses of IPv4 only")]
    Family,
    /// Two of one port would each take the other's programs for an earlier process's.
    #[error("another tunnel of port {port} on this host has it")]
    Taken {
        /// The port.
        port: u16,
    },
    /// Who has it cannot be found out.
    #[error("cannot claim the shortcut of port {port}")]
    Claim {
        /// The port.
        port: u16,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// What its programs know each other by is not kept for those that come after them.
    #[error("cannot keep the numbers of the shortcut of port {port}")]
    Keep {
        /// The port.
        port: u16,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The kernel does not know such programs, or does not let us load them.
    #[error("the kernel does not take the program {name}")]
    Load {
        /// Which one; all of them without a name of one.
        name: &'static str,
        /// What the kernel said.
        #[source]
        source: Cause,
    },
    /// The table of peers is not what it should be.
    #[error("the kernel does not take a row of the table {name}")]
    Table {
        /// The table.
        name: &'static str,
        /// What the kernel said.
        #[source]
        source: Cause,
    },
    /// A filter cannot be put in.
    #[error("cannot hook a program into {interface}")]
    Hook {
        /// The interface.
        interface: String,
        /// What the kernel said.
        #[source]
        source: Cause,
    },
}

impl Refused {
    /// Would it be refused again, unless this process had other rights, the machine another kernel, or the tunnel
    /// other interfaces?
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Family => true,
            Self::Load { source, .. } => !is_passing(&**source),
            Self::Taken { .. }
            | Self::Claim { .. }
            | Self::Keep { .. }
            | Self::Table { .. }
            | Self::Hook { .. } => false,
        }
    }
}

/// Had the kernel no room, or something else to do?
fn is_passing(error: &(dyn std::error::Error + 'static)) -> bool {
    let passing =
        [Errno::ENOMEM, Errno::ENOSPC, Errno::EAGAIN, Errno::EINTR, Errno::EMFILE, Errno::ENFILE];
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut codes = causes.filter_map(|error| error.downcast_ref::<io::Error>()?.raw_os_error());
    codes.any(|code| passing.iter().any(|errno| *errno as i32 == code))
}

/// What the kernel said, in the words of the loader.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Programs that carry packets.
pub(crate) struct Shortcut {
    pub(crate) ground: Ground,
    programs: Ebpf,
    table: Table,
    tally: Arc<Tally>,
    until: Array<MapData, u64>,
    lift_port: Array<MapData, u32>,
    hooks: Vec<Hook>,
}

/// What the programs counted.
pub(crate) struct Tally(PerCpuArray<MapData, u64>);

/// So many packets and bytes, and packets that were lost on the way.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Totals {
    pub(crate) sent: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) received: u64,
    pub(crate) bytes_received: u64,
    pub(crate) lost: u64,
}

impl Shortcut {
    /// Loads the programs, which carry nothing yet.
    pub(crate) fn load(
        endpoint: &Endpoint,
        ground: Ground,
        Numbers { network, secret }: Numbers,
    ) -> Result<Self, Refused> {
        let (IpAddr::V4(underlay), Some((base, mask))) =
            (endpoint.underlay, endpoint.subnet.of(Family::V4).and_then(base_and_mask))
        else {
            return Err(Refused::Family);
        };
        let word = |address: Ipv4Addr| u32::from_ne_bytes(address.octets());
        let constants = [
            ("underlay", word(underlay)),
            ("port", on_the_wire(endpoint.port)),
            ("device", ground.device.index),
            ("uplink", ground.uplink.index),
            ("mtu", endpoint.mtu.bytes()),
            ("own_base", word(base)),
            ("own_mask", word(mask)),
            ("shown_class", u32::from(endpoint.marks.outside(0xff))),
            ("lift_network", network),
            ("lift_secret", secret),
        ];
        let mut loader = loader();
        for (name, value) in &constants {
            loader.override_global(name, value, true);
        }
        let refused = |source| Refused::Load { name: "shortcut", source };
        let mut programs = loader.load(OBJECT).map_err(|error| refused(error.into()))?;
        let numbers = table::map(&mut programs, "numbers")?;
        let until = table::map(&mut programs, "until")?;
        let lift_port = table::map(&mut programs, LIFT_PORT)?;
        let table = Table::of(&mut programs)?;
        let mut hooks = Hook::all(&ground, endpoint.port);
        for hook in &mut hooks {
            hook.load(&mut programs)?;
        }
        let tally = Arc::new(Tally(numbers));
        Ok(Self { ground, programs, table, tally, until, lift_port, hooks })
    }

    /// Says that somebody is here, and puts in what is not; tells whether anything was not.
    pub(crate) fn lead(&mut self) -> Result<bool, Refused> {
        let name = "until";
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC)
            .map_err(|errno| Refused::Table { name, source: errno.into() })?;
        let until = u64::try_from((Duration::from(now) + LEAD).as_nanos()).unwrap_or(u64::MAX);
        self.until
            .set(0, until, 0)
            .map_err(|error| Refused::Table { name, source: error.into() })?;
        let mut any = false;
        for hook in &mut self.hooks {
            any |= hook.ensure(&mut self.programs)?;
        }
        Ok(any)
    }

    /// Has super-packets come in by the lift, which is up.
    pub(crate) fn open_lift(&mut self) -> Result<(), Refused> {
        let port = self.ground.lift.as_ref().map_or(0, |lift| on_the_wire(lift.port));
        self.lift_to(port)
    }

    /// Has none come in by it.
    pub(crate) fn shut_lift(&mut self) -> Result<(), Refused> {
        self.lift_to(0)
    }

    fn lift_to(&mut self, port: u32) -> Result<(), Refused> {
        let set = self.lift_port.set(0, port, 0);
        set.map_err(|error| Refused::Table { name: LIFT_PORT, source: error.into() })
    }

    /// Takes out what was put in, but for what looks after the lift: that goes with it, and nothing may come by it
    /// unseen.
    pub(crate) fn unhook(&self) {
        self.hooks.iter().filter(|hook| !hook.is_at_lift()).for_each(Hook::drop);
    }

    /// The same, where another has not put its own in.
    pub(crate) fn give_way_to(&self, other: &Self) {
        let taken = |hook: &Hook| other.hooks.iter().any(|theirs| theirs.is_where(hook));
        let left = |hook: &&Hook| !hook.is_at_lift() && !taken(hook);
        self.hooks.iter().filter(left).for_each(Hook::drop);
    }

    /// Follows the peers. What a peer loses, it loses here before `swap` replaces the table of user space, and
    /// what it gets, it gets here after that: never does the kernel take what user space would refuse.
    pub(crate) fn follow(
        &mut self,
        blocks: &[(Subnet, IpAddr)],
        able: &BTreeSet<IpAddr>,
        swap: impl FnOnce(),
    ) -> Result<(), Refused> {
        self.table.follow(blocks, able, swap)
    }

    pub(crate) fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }
}

impl Totals {
    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            sent: self.sent + other.sent,
            bytes_sent: self.bytes_sent + other.bytes_sent,
            received: self.received + other.received,
            bytes_received: self.bytes_received + other.bytes_received,
            lost: self.lost + other.lost,
        }
    }
}

impl Tally {
    pub(crate) fn totals(&self) -> Totals {
        let [sent, bytes_sent, received, bytes_received, lost] =
            [0, 1, 2, 3, 4].map(|number| match self.0.get(&number, 0) {
                Ok(values) => values.iter().sum(),
                Err(_never) => 0,
            });
        Totals { sent, bytes_sent, received, bytes_received, lost }
    }
}

fn on_the_wire(port: u16) -> u32 {
    u32::from(port.to_be())
}

fn base_and_mask(block: Subnet) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let IpAddr::V4(base) = block.base() else { return None };
    let mask = u32::MAX.checked_shl(32 - u32::from(block.len())).unwrap_or(0);
    Some((base, mask.into()))
}

impl fmt::Debug for Shortcut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shortcut").field("ground", &self.ground).finish_non_exhaustive()
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tally").field(&self.totals()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_other_rights_is_not_tried_again() {
        let load = |errno: Errno| {
            let source = io::Error::from_raw_os_error(errno as i32);
            Refused::Load { name: "twill_enter", source: source.into() }
        };
        let hook = Refused::Hook { interface: "eth0".to_owned(), source: "it is busy".into() };
        for (refused, lasting) in [
            (load(Errno::EPERM), true),
            (load(Errno::EINVAL), true),
            (load(Errno::ENOMEM), false),
            (load(Errno::EMFILE), false),
            (Refused::Taken { port: 1 }, false),
            (hook, false),
            (Refused::Family, true),
        ] {
            assert_eq!(refused.is_lasting(), lasting, "{refused:?}");
        }
        let refused = Refused::Load { name: "shortcut", source: load(Errno::ENOMEM).into() };
        assert!(!refused.is_lasting(), "whatever is around it");
    }
}
