//! The hosts of a soak: what is in their kernels, and what has to be.

mod left;
mod seen;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use twill_core::status::{EtcdState, Status};

use super::traffic::name;
use crate::container::Endpoint;
use crate::deeds::{FOREIGN, FOREIGN_ON_THE_UPLINK, FOREIGN_ON_TUN, FOREIGN_ON_VXLAN, fill};
use crate::fabric::{Backend, Fabric, NETWORK};
use crate::host::Host;
use crate::lab::{Lab, ROUTER, address};
use crate::snapshot::Snapshot;
use crate::status::status;
use crate::wait::wait_until;
use seen::type_in;

/// What a busy machine may need for something that takes milliseconds on an idle one.
pub(super) const LIMIT: Duration = Duration::from_secs(30);

/// An address of the underlay that nobody has.
const STRANGER: &str = "192.168.140.199";

/// The timers have no part in it.
const OPTIONS: [&str; 3] = ["--resync=60", "--iptables-resync=60", "--ip-masq"];

/// Blocks below stay free, for rows about hosts that there are not.
const FREE: [&str; 2] = ["--subnet-min", "10.88.100.0"];

/// The value is the administrator's: the agent changes only one that is in the way, and not back.
const LOOSE: &str = "sysctl -q net/ipv4/conf/default/rp_filter=2 net/ipv4/conf/eth0/rp_filter=2";

/// Every packet to a container that does not come from its bridge is dropped, as Docker 28 and later do.
const DOCKERS: &str = "iptables -t raw -A PREROUTING -d NETWORK ! -i twill0 -j DROP";

/// See the module's own words.
#[derive(Debug)]
pub(super) struct World {
    pub(super) fabric: Fabric,
    pub(super) containers: Vec<Endpoint>,
    backend: Backend,
    hosts: Vec<Standing>,
}

/// One host.
#[derive(Debug)]
struct Standing {
    host: Host,
    /// As it was before anything of Twill ran.
    bare: Snapshot,
    /// The tunnel device's hardware address.
    mac: String,
    /// The block's first address.
    block: String,
    /// Every row as it has to be, and of those the ones that are not ours.
    whole: BTreeSet<String>,
    others: BTreeSet<String>,
}

/// How rows differ from the usual for a while: these words stand for those.
#[derive(Clone, Debug, Default)]
pub(super) struct Turned {
    pub(super) here: Option<[String; 2]>,
    pub(super) everywhere: bool,
}

impl World {
    /// With an agent and a container on each host, and rows of others. `made` is told of the lab.
    pub(super) fn new(
        hosts: usize,
        backend: Backend,
        made: impl FnOnce(&Lab) -> Result<()>,
    ) -> Result<Self> {
        let mut fabric = Fabric::bare(hosts)?;
        made(fabric.lab())?;
        fabric.lab().hosts().try_for_each(Endpoint::import_image)?;
        // Of networks that are not ours, but for the one that has to let us pass.
        let words = [("STRANGER", STRANGER), ("NETWORK", "10.89.0.0/16")];
        let dropped = fill(DOCKERS, &[("NETWORK", NETWORK)]);
        let foreign = FOREIGN.map(|row| fill(row, &words));
        let mut bare = Vec::new();
        for host in fabric.lab().hosts() {
            type_in(host, LOOSE)?;
            for row in foreign.iter().chain([&dropped]) {
                type_in(host, row)?;
            }
            fabric.ensure_manager(host)?;
            bare.push(Snapshot::take(host)?);
        }
        fabric.start_etcd()?;
        fabric.init_network_with(backend, &FREE)?;
        fabric.give_agents(&OPTIONS);
        fabric.start_agents(1..=hosts)?;
        fabric.meet(hosts)?;
        let mut world = Self { fabric, containers: Vec::new(), backend, hosts: Vec::new() };
        for (place, bare) in bare.into_iter().enumerate() {
            world.move_in(place, bare)?;
        }
        world.settle()?;
        Ok(world)
    }

    fn move_in(&mut self, place: usize, bare: Snapshot) -> Result<()> {
        let host = self.fabric.node(place + 1).clone();
        let container = Endpoint::container(&host, "soaked", &["sleep", "100000"])?;
        self.containers.push(container);
        let device = self.backend.device();
        let path = format!("/sys/class/net/{device}/address");
        let mac = host.ok(["cat", path.as_str()]).unwrap_or_default().trim().to_owned();
        let block = status(&host)?.subnet.gateway().0.to_string();
        let (whole, others) = (BTreeSet::new(), BTreeSet::new());
        self.hosts.push(Standing { host, bare, mac, block, whole, others });
        Ok(())
    }

    /// Plants the rows of others, and takes what is there then for what has to be.
    fn settle(&mut self) -> Result<()> {
        self.well()?;
        for place in 0..self.hosts.len() {
            let ours = self.rows(place, "eth0")?;
            for row in self.foreign(place) {
                type_in(&self.hosts[place].host, &row)?;
            }
            let whole = self.rows(place, "eth0")?;
            let host = &mut self.hosts[place];
            host.others = whole.difference(&ours).cloned().collect();
            // What was there before the agent goes with the uplink, too.
            let bare = whole.iter().filter(|row| row.contains("10.99.0.0/16"));
            host.others.extend(bare.cloned());
            host.whole = whole;
        }
        Ok(())
    }

    /// How many hosts there are.
    pub(super) fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Types a line of words on a host.
    pub(super) fn types(&self, place: usize, line: &str) -> Result<()> {
        type_in(&self.hosts[place].host, line)
    }

    /// The line with the words of that host, and of that peer.
    pub(super) fn fill(&self, line: &str, place: usize, peer: usize) -> String {
        let at = |place: usize| address(place + 1).to_string();
        let alias = format!("192.168.140.{}", 100 + place);
        let (host, other) = (&self.hosts[place], &self.hosts[peer]);
        let mtu = self.backend.mtu();
        let (own, block) = (format!("{}/32", host.block), other.block.as_str());
        let (wide, narrow) = (mtu.to_string(), (mtu - 100).to_string());
        let words = [
            ("DEVICE", self.backend.device()),
            ("UPLINK", "eth0"),
            ("NETWORK", NETWORK),
            ("OWN", &own),
            ("PEER", block),
            ("MAC", &other.mac),
            ("HOST", &at(peer)),
            ("STRANGER", STRANGER),
            ("ROUTER", ROUTER),
            ("SELF", &at(place)),
            ("ALIAS", &alias),
            ("WIDE", &wide),
            ("NARROW", &narrow),
        ];
        fill(line, &words)
    }

    /// What has to be on that host, but for those rows of others that go with the interface, which may be
    /// there or not: both lists.
    pub(super) fn wanted(
        &self,
        place: usize,
        (turned, destroys): (&Turned, &str),
    ) -> (BTreeSet<String>, BTreeSet<String>) {
        let Standing { whole, others, .. } = &self.hosts[place];
        let lost = others.iter().filter(|row| !destroys.is_empty() && row.contains(destroys));
        let lost: BTreeSet<String> = lost.cloned().collect();
        let turn = |row: &String| match &turned.here {
            Some([before, after]) => row.replace(before, after),
            None => row.clone(),
        };
        let wanted = whole.difference(&lost).map(turn).collect();
        (wanted, lost.iter().map(turn).collect())
    }

    /// How the host differs from that: nothing if it does not.
    pub(super) fn amiss(
        &self,
        place: usize,
        (wanted, lost): &(BTreeSet<String>, BTreeSet<String>),
        uplink: &str,
    ) -> Result<Vec<String>> {
        let now = self.rows(place, uplink)?;
        let missing = wanted.difference(&now).map(|row| format!("- {row}"));
        let added = now.difference(wanted).filter(|row| !lost.contains(*row));
        Ok(missing.chain(added.map(|row| format!("+ {row}"))).collect())
    }

    /// Plants what has gone of the rows of others; what is there stays.
    pub(super) fn plant_again(&self, place: usize) -> Result<()> {
        let host = &self.hosts[place].host;
        for row in self.foreign(place) {
            drop(type_in(host, &row));
        }
        // Of those from before the agent only the route goes.
        let route = FOREIGN.iter().find(|row| row.starts_with("ip route"));
        drop(type_in(host, &fill(route.context("no route")?, &[("STRANGER", STRANGER)])));
        let usual = self.wanted(place, (&Turned::default(), ""));
        self.until_right(place, (&usual, "eth0")).map(drop)
    }

    /// Waits until the host is like that, looking as often as one can; answers when it was.
    pub(super) fn until_right(
        &self,
        place: usize,
        (wanted, uplink): (&(BTreeSet<String>, BTreeSet<String>), &str),
    ) -> Result<Instant> {
        let mut amiss = Vec::new();
        let right = || {
            amiss =
                self.amiss(place, wanted, uplink).unwrap_or_else(|error| vec![error.to_string()]);
            amiss.is_empty()
        };
        let what = format!("{} is as it has to be", name(place));
        wait_until(&what, LIMIT, right).with_context(|| amiss.join("\n"))?;
        Ok(Instant::now())
    }

    /// Waits until every agent says that all is well.
    pub(super) fn well(&self) -> Result<()> {
        let peers = self.fabric.lab().hosts().count() - 1;
        let well = |status: &Status| {
            status.etcd == EtcdState::Connected
                && status.peers.len() == peers
                && status.pending.is_empty()
                && status.last_error.is_none()
                && status.standing.degraded.is_empty()
        };
        for host in self.fabric.lab().hosts() {
            let mut last = None;
            wait_until(&format!("all is well on {}", host.name()), LIMIT, || {
                last = Some(status(host));
                matches!(&last, Some(Ok(status)) if well(status))
            })
            .with_context(|| format!("{last:?}"))?;
        }
        Ok(())
    }

    /// The rows of others on that host, about its next neighbour.
    fn foreign(&self, place: usize) -> Vec<String> {
        let rows: &[&str] = match self.backend {
            Backend::Vxlan => &FOREIGN_ON_VXLAN,
            Backend::Udp => &FOREIGN_ON_TUN,
            Backend::HostGw => &FOREIGN_ON_THE_UPLINK,
        };
        let peer = (place + 1) % self.hosts.len();
        rows.iter().map(|row| self.fill(row, place, peer)).collect()
    }

    /// Everything of the host that may not be otherwise, a row a line.
    fn rows(&self, place: usize, uplink: &str) -> Result<BTreeSet<String>> {
        let device = Some(self.backend.device()).filter(|device| *device != "eth0");
        let container = self.containers.get(place);
        seen::rows((&self.hosts[place].host, container), (device, uplink))
    }
}
