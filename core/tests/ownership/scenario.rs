//! Which small world is explored: its subnets, its machines, and what may happen to them.

use std::collections::HashMap;
use std::sync::Mutex;

use twill_core::config::{Draft, NetworkConfig};
use twill_core::ids::Subnet;

use crate::normal::Shuffle;
use crate::world::{Etcd, MACHINES, Machine, NODES, Power, SLOTS, World};

/// A world before anything has happened in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// The subnets that have a key.
    pub(crate) subnets: &'static [&'static str],
    /// Configurations that an administrator writes; the first is there from the beginning.
    pub(crate) configs: &'static [Bounds],
    pub(crate) machines: &'static [Power],
    pub(crate) faults: &'static [Fault],
    /// How many of them, besides those of etcd and the network, may happen in one course of events.
    pub(crate) misfortunes: u8,
    /// The rule that this world's hosts do not keep.
    pub(crate) slip: Option<Slip>,
}

/// The first and the last subnet that hosts may take.
pub(crate) type Bounds = (&'static str, &'static str);

/// What may happen, in any order and as often as it likes.
///
/// A partition needs no entry: nobody has to take a step, so every host is cut off for any time in
/// some order of events. Compaction neither: a host decides on what it has read, however old that
/// is by the time it writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    /// Time passes, and etcd leases end. The hosts' clocks are as slow as they may be.
    Time,
    /// Every host's clock is slow or not.
    Drift,
    /// A request is lost, or its answer.
    Lost,
    /// A request arrives long after its host gave up waiting.
    Late,
    /// An agent dies, and starts again from its disk.
    Crash,
    /// A machine is installed anew.
    Reinstall,
    /// A machine gets another address, while its agent runs or not.
    Move,
    /// A host writes its unchanged lease again, for flanneld's sake.
    Rewrite,
    /// An administrator deletes a lease.
    Revoke,
    /// An administrator makes a reservation, of a free subnet or of a lease, or undoes one.
    Reserve,
    /// An administrator writes another configuration.
    Configure,
    /// The blank machine starts with a copy of the first one's disk.
    Copy,
    /// The copy is not seen to be one: a virtual machine with every number of the first.
    Twin,
    /// A flanneld starts on the first machine, and writes over what has its address.
    Flannel,
}

/// A rule that is broken on purpose.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Slip {
    /// A lease is renewed by writing it, whatever is there by now. flannel does.
    RenewsBlindly,
    /// A claim does not compare the configuration.
    IgnoresConfig,
    /// A copy takes itself for the host that was copied.
    TrustsCopies,
    /// A write without an answer counts as refused.
    TakesSilenceForNo,
    /// A host believes in its lease for as long as etcd's clock gives it.
    NoMargin,
    /// The belief counts from the answer.
    CountsFromAnswer,
    /// A lease is believed in because its etcd lease lives; nobody looks at the key.
    BelievesKeepAlive,
    /// A copy takes itself for its original, on new hardware, where a lease has its address.
    TrustsAddress,
    /// The addresses under which a lease was published are lost with the process.
    ForgetsAddresses,
}

/// A scenario, read, and what was found out about its states.
#[derive(Debug)]
pub(crate) struct Explored {
    pub(crate) scenario: Scenario,
    pub(crate) subnets: Vec<Subnet>,
    pub(crate) configs: Vec<NetworkConfig>,
    pub(crate) shuffles: Vec<Shuffle>,
    /// Does a world settle once nothing happens any more? By fingerprint.
    pub(crate) settling: Mutex<HashMap<u64, bool>>,
}

impl Scenario {
    pub(crate) fn read(self) -> Explored {
        let subnets: Vec<Subnet> = self.subnets.iter().map(|text| parse(text)).collect();
        assert!(subnets.len() <= SLOTS && self.machines.len() <= MACHINES);
        let configs = self.configs.iter().map(|bounds| config(*bounds)).collect();
        let (shuffles, settling) = (Vec::new(), Mutex::default());
        let mut explored = Explored { scenario: self, subnets, configs, shuffles, settling };
        explored.find_shuffles();
        explored
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    pub(crate) fn slips(&self, slip: Slip) -> bool {
        self.slip == Some(slip)
    }

    /// The first moment.
    pub(crate) fn world(&self) -> World {
        let etcd = Etcd {
            config: 0,
            config_revision: 1,
            rows: [None; SLOTS],
            leases: [None; crate::world::LEASES],
            questions: [None; NODES],
        };
        let mut machines = [Machine::ABSENT; MACHINES];
        for (number, (machine, power)) in (0..).zip(machines.iter_mut().zip(self.machines)) {
            (machine.power, machine.address, machine.node) = (*power, number, number);
        }
        World { etcd, machines, left: self.misfortunes, sin: None }
    }
}

fn config((min, max): Bounds) -> NetworkConfig {
    let (min, max): (Subnet, Subnet) = (parse(min), parse(max));
    let mut draft = Draft::new(parse("10.5.0.0/16"));
    draft.range.subnet_len = Some(min.len());
    draft.range.subnet_min = Some(min.base());
    draft.range.subnet_max = Some(max.base());
    draft.build().expect("bounds of one length inside the network")
}

fn parse(text: &str) -> Subnet {
    text.parse().expect("a subnet")
}
