//! The hosts of a soak: what is in their kernels, and what has to be.

mod left;
mod places;
mod seen;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use twill_core::ids::{Family, Subnet};
use twill_core::status::{EtcdState, Status};

use super::setting::{Setting, Travel};
use super::traffic::name;
use crate::container::Endpoint;
use crate::deeds::{FOREIGN_ON_THE_UPLINK, FOREIGN_ON_TUN, FOREIGN_ON_VXLAN, fill};
use crate::fabric::Fabric;
use crate::host::Host;
use crate::lab::{Lab, ROUTER};
use crate::snapshot::Snapshot;
use crate::status::status;
use crate::wait::wait_until;
use places::{Underlay, before_us, of_family};
use seen::type_in;

/// What a busy machine may need for something that takes milliseconds on an idle one.
pub(super) const LIMIT: Duration = Duration::from_secs(30);

/// The timers have no part in it.
const OPTIONS: [&str; 3] = ["--resync=60", "--iptables-resync=60", "--ip-masq"];

/// The value is the administrator's: the agent changes only one that is in the way, and not back.
const LOOSE: &str = "sysctl -q net/ipv4/conf/default/rp_filter=2 net/ipv4/conf/eth0/rp_filter=2";

/// See the module's own words.
#[derive(Debug)]
pub(super) struct World {
    pub(super) fabric: Fabric,
    pub(super) containers: Vec<Endpoint>,
    setting: Setting,
    hosts: Vec<Standing>,
}

/// One host.
#[derive(Debug)]
struct Standing {
    host: Host,
    /// As it was before anything of Twill ran.
    bare: Snapshot,
    /// What it has of each family.
    shares: Vec<Share>,
    /// Every row as it has to be, and of those the ones that are not ours.
    whole: BTreeSet<String>,
    others: BTreeSet<String>,
}

/// What a host has of one family.
#[derive(Debug)]
struct Share {
    family: Family,
    /// The tunnel device's hardware address.
    mac: String,
    /// The block's first address.
    block: String,
}

/// How rows differ from the usual for a while: these words stand for those.
#[derive(Clone, Debug, Default)]
pub(super) struct Turned {
    pub(super) here: Vec<[String; 2]>,
    pub(super) everywhere: bool,
}

impl World {
    /// With an agent and a container on each host, and rows of others. `made` is told of the lab.
    pub(super) fn new(
        hosts: usize,
        setting: Setting,
        made: impl FnOnce(&Lab) -> Result<()>,
    ) -> Result<Self> {
        let ipv6 = setting.families().contains(&Family::V6);
        let mut fabric = if ipv6 { Fabric::bare_of_both(hosts)? } else { Fabric::bare(hosts)? };
        made(fabric.lab())?;
        fabric.lab().hosts().try_for_each(Endpoint::import_image)?;
        let mut bare = Vec::new();
        for host in fabric.lab().hosts() {
            type_in(host, LOOSE)?;
            for row in before_us(setting) {
                type_in(host, &row)?;
            }
            fabric.ensure_manager(host)?;
            bare.push(Snapshot::take(host)?);
        }
        fabric.start_etcd()?;
        let key = "/coreos.com/network/config";
        fabric.node(1).ok(["env", "ETCDCTL_API=3", "etcdctl", "put", key, &setting.config()])?;
        // There is no default route of IPv6.
        let iface = ipv6.then_some("--iface=eth0");
        let options =
            OPTIONS.into_iter().chain([setting.engine.option()]).chain(setting.way.option());
        let options = options.chain(iface);
        fabric.give_agents(&options.collect::<Vec<_>>());
        fabric.start_agents(1..=hosts)?;
        for number in 1..=hosts {
            fabric.knows(number, (hosts - 1) * setting.families().len())?;
        }
        let mut world = Self { fabric, containers: Vec::new(), setting, hosts: Vec::new() };
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
        let status = status(&host)?;
        let blocks = [Some(status.subnet), status.ipv6.map(|ipv6| ipv6.subnet)];
        let share = |block: Subnet| {
            let family = block.family();
            let path = format!("/sys/class/net/{}/address", self.setting.way.device(family));
            let mac = host.ok(["cat", path.as_str()]).unwrap_or_default().trim().to_owned();
            Share { family, mac, block: block.gateway().0.to_string() }
        };
        let shares = blocks.into_iter().flatten().map(share).collect();
        let (whole, others) = (BTreeSet::new(), BTreeSet::new());
        self.hosts.push(Standing { host, bare, shares, whole, others });
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
            let before =
                |row: &&String| row.contains("10.99.0.0/16") || row.contains("fd00:99::/48");
            host.others.extend(whole.iter().filter(before).cloned());
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

    /// The line about that family, with the words of that host, and of that peer.
    pub(super) fn fill(&self, line: &str, (place, peer): (usize, usize), family: Family) -> String {
        let share =
            |place: usize| self.hosts[place].shares.iter().find(|share| share.family == family);
        let ((mac, other), own) = match (share(peer), share(place)) {
            (Some(peer), Some(own)) => ((&*peer.mac, &*peer.block), &*own.block),
            // What is about links is of no family.
            _none => (("", ""), ""),
        };
        let underlay = Underlay::of(family);
        let [wide4, wide6] = [Family::V4, Family::V6].map(|family| self.setting.way.mtu(family));
        let [wide, narrow] =
            [0, 100].map(|less| [wide4, wide6].map(|mtu| format!("mtu {}", mtu - less)));
        let own = format!("{own}/{}", family.bits());
        let (here, there) = (underlay.host(place), underlay.host(peer));
        let alias = underlay.alias(place);
        let words = [
            ("DEVICE", self.setting.way.device(family)),
            ("UPLINK", "eth0"),
            ("NETWORK", underlay.network),
            ("OWN", &own),
            ("PEER", other),
            ("MAC", mac),
            ("HOST", &there),
            ("STRANGER", underlay.stranger),
            ("ROUTER", ROUTER),
            ("SELF", &here),
            ("ALIAS", &alias),
            ("WIDE4", &wide[0]),
            ("NARROW4", &narrow[0]),
            ("WIDE6", &wide[1]),
            ("NARROW6", &narrow[1]),
        ];
        fill(&of_family(line, family), &words)
    }

    /// Gives the uplink back what of its addresses went when it was down, or away.
    pub(super) fn replug(&self, place: usize) -> Result<()> {
        let families = self.setting.families();
        if families.contains(&Family::V6) {
            let line = "ip -6 addr replace SELF/64 dev UPLINK nodad";
            self.types(place, &self.fill(line, (place, place), Family::V6))?;
        }
        if !families.contains(&Family::V4) {
            // etcd is reached by IPv4, which is no business of an agent's here: whoever gives an interface
            // such an address says so on the link.
            let line = "busybox arping -q -U -c 1 -I UPLINK SELF";
            self.types(place, &self.fill(line, (place, place), Family::V4))?;
        }
        Ok(())
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
        let turn = |row: &String| {
            let words = turned.here.iter();
            words.fold(row.clone(), |row, [before, after]| row.replace(before, after))
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
        // Of those from before the agent only routes go.
        for row in before_us(self.setting).iter().filter(|row| row.contains(" route ")) {
            drop(type_in(host, row));
        }
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
        let others = self.fabric.lab().hosts().count() - 1;
        let peers = others * self.setting.families().len();
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
        let rows: &[&str] = match self.setting.way {
            Travel::Vxlan | Travel::VxlanDirect => &FOREIGN_ON_VXLAN,
            Travel::Udp | Travel::UdpShortcut => &FOREIGN_ON_TUN,
            Travel::HostGw => &FOREIGN_ON_THE_UPLINK,
        };
        let peer = (place + 1) % self.hosts.len();
        let of = |family: &Family| {
            let family = *family;
            rows.iter().map(move |row| self.fill(row, (place, peer), family))
        };
        self.setting.families().iter().flat_map(of).collect()
    }

    /// Everything of the host that may not be otherwise, a row a line.
    fn rows(&self, place: usize, uplink: &str) -> Result<BTreeSet<String>> {
        let container = self.containers.get(place);
        seen::rows((&self.hosts[place].host, container), self.setting, uplink)
    }
}
