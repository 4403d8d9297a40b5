//! A host to which things are done.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use twill_core::ids::Family;

use super::deeds::ipv6::{in_ipv6, is_of_ipv6};
use super::deeds::{Deed, fill};
use super::found::{checks, found, kernel};
use super::setting::Setting;
use super::support::network::{give_ipv6, subnet_env};
use super::support::process::{Process, wait_for};
use super::support::{PREFIX, World, get, shell, try_command};

/// How often each deed is done.
const ROUNDS: &str = "HEALING_ROUNDS";

/// Every packet to a container that does not come from its bridge is dropped, as Docker 28 and later do.
const DOCKERS: &str = "iptables -t raw -A PREROUTING -d NETWORK ! -i twill0 -j DROP";

/// A host with its agent, and what is in its kernel.
pub(crate) struct Host {
    setting: Setting,
    /// As it has to be, and of that what is not ours.
    whole: BTreeSet<String>,
    others: BTreeSet<String>,
    words: Vec<(&'static str, String)>,
    twilld: Process,
    /// What was undone so far.
    healed: BTreeMap<String, u64>,
    _world: World,
}

impl Host {
    pub(crate) fn new(setting: Setting) -> Option<Self> {
        let world = World::with_config(&setting.config())?;
        if setting.family == Family::V6 {
            give_ipv6();
        }
        for (key, value) in setting.peers() {
            world.etcdctl(&["put", &format!("{PREFIX}/subnets/{key}"), &value]);
        }
        // The value is somebody's: only what is in the way is changed.
        type_in("sysctl -q net/ipv4/conf/default/rp_filter=2 net/ipv4/conf/u0/rp_filter=2");
        let mut words = setting.words();
        if setting.engine.is_some() {
            let words: Vec<_> = words.iter().map(|(word, is)| (*word, is.as_str())).collect();
            type_in(&fill(&of_family(DOCKERS, setting.family), &words));
        }
        let engine = format!("--firewall={}", setting.engine.unwrap_or("auto"));
        let mut twilld =
            world.twilld(&["--resync=60", "--iptables-resync=60", "--ip-masq", &engine]);
        twilld.says("bootstrap done");
        wait_for("an empty plan", || get("/status").contains(r#""pending":[]"#));
        let ours = kernel(&setting);
        words.push(("OWN", own_address(setting.family)));
        let mut host = Self {
            setting,
            whole: BTreeSet::new(),
            others: BTreeSet::new(),
            words,
            twilld,
            healed: BTreeMap::new(),
            _world: world,
        };
        host.plant().expect("each row");
        host.whole = kernel(&setting);
        host.others = host.whole.difference(&ours).cloned().collect();
        let planted = setting.foreign.len();
        assert!(host.others.len() >= planted, "each is a row of its own: {:?}", host.others);
        Some(host)
    }

    fn fill(&self, line: &str) -> String {
        let words: Vec<(&str, &str)> =
            self.words.iter().map(|(word, is)| (*word, is.as_str())).collect();
        fill(&of_family(line, self.setting.family), &words)
    }

    fn does(&self, line: &str) {
        let line = self.fill(line);
        if line.contains('"') { shell(&line) } else { type_in(&line) }
    }

    /// The rows of others, all about the peer on the link; what is there stays.
    fn plant(&self) -> Result<(), String> {
        let near = self.setting.words_of_others();
        let near: Vec<_> = near.iter().map(|(word, is)| (*word, is.as_str())).collect();
        let planted = self.setting.foreign.iter().map(|row| {
            let row = fill(&of_family(row, self.setting.family), &near);
            try_command(&self.fill(&row)).map(drop)
        });
        planted.fold(Ok(()), Result::and)
    }

    /// Which rows of others go with what is done.
    fn lost(&self, deed: &Deed) -> BTreeSet<&String> {
        let with = self.fill(deed.destroys);
        self.others.iter().filter(|row| !with.is_empty() && row.contains(&with)).collect()
    }

    /// Does each, as often as it is wanted, and tells how long it took until it was undone.
    #[expect(clippy::print_stderr, reason = "the times are part of the answer")]
    pub(crate) fn endures(&mut self, deeds: impl IntoIterator<Item = &'static Deed>) {
        let rounds = std::env::var(ROUNDS).map_or(1, |text| text.parse().expect("a number"));
        assert!(rounds > 0, "{ROUNDS} is at least 1");
        let Setting { family, backend, .. } = self.setting;
        for deed in deeds.into_iter().filter(|deed| family == Family::V4 || is_of_ipv6(deed)) {
            let mut took: Vec<Duration> = (0..rounds).map(|_round| self.endure(deed)).collect();
            took.sort_unstable();
            let (median, worst) = (took[took.len() / 2], took[took.len() - 1]);
            let [median_ms, worst_ms] = [median, worst].map(|time| time.as_millis());
            eprintln!("| {} | {backend} | {family} | {median_ms} | {worst_ms} |", deed.says);
            assert!(worst < Duration::from_secs(1), "somebody {}: {worst:?}", deed.says);
        }
        let said = self.twilld.said();
        assert_eq!(self.twilld.count("ERROR"), 0, "nothing that it could not do: {said}");
    }

    /// Does each while the agent cannot heal it, and finds it named; then lets it be healed.
    pub(crate) fn names(&mut self, deeds: impl IntoIterator<Item = &'static Deed>) {
        let picture = || std::fs::read_to_string("/run/state/picture").unwrap_or_default();
        let peer = self.setting.block("9");
        wait_for("the peers in the picture", || picture().contains(&peer));
        // Doctor asks each peer, and no peer is there: no question takes a second to be told so.
        for line in MUTE {
            shell(line);
        }
        let before = found();
        let family = self.setting.family;
        for deed in deeds.into_iter().filter(|deed| family == Family::V4 || is_of_ipv6(deed)) {
            self.twilld.signal(Signal::SIGSTOP);
            let checks = checks(deed.kind);
            let mut seen = BTreeSet::new();
            for line in deed.types {
                self.does(line);
                seen.extend(found().difference(&before).cloned());
            }
            let named = seen.iter().any(|(check, _what)| checks.contains(&check.as_str()));
            assert!(named, "somebody {}: {seen:#?}", deed.says);
            self.twilld.signal(Signal::SIGCONT);
            // What went with a device comes back by itself, or not at all.
            let lost = self.lost(deed);
            let ours = || {
                let now = kernel(&self.setting);
                self.whole.iter().all(|row| lost.contains(row) || now.contains(row))
            };
            wait_for(deed.says, ours);
            if !lost.is_empty() {
                drop(self.plant());
            }
            wait_for(deed.says, || kernel(&self.setting) == self.whole);
        }
    }

    fn endure(&mut self, deed: &Deed) -> Duration {
        let lost = self.lost(deed);
        let wanted: BTreeSet<String> =
            self.whole.iter().filter(|row| !lost.contains(row)).cloned().collect();
        for line in deed.types {
            self.does(line);
        }
        let start = Instant::now();
        loop {
            let now = kernel(&self.setting);
            let missing: Vec<_> = wanted.difference(&now).collect();
            let added: Vec<_> = now.difference(&wanted).filter(|row| !lost.contains(row)).collect();
            if missing.is_empty() && added.is_empty() {
                break;
            }
            let said = || self.twilld.said();
            let late = start.elapsed() > Duration::from_secs(5);
            assert!(!late, "{}: {missing:#?}, not {added:#?}\n{}", deed.says, said());
        }
        let took = start.elapsed();
        let before = self.healed.get(deed.kind).copied().unwrap_or_default();
        let counts = || healed().get(deed.kind).is_some_and(|now| *now > before);
        wait_for(&format!("{} counted", deed.kind), || deed.kind.is_empty() || counts());
        // What went with a device, for the next one.
        if !lost.is_empty() {
            drop(self.plant());
        }
        assert_eq!(kernel(&self.setting), self.whole, "after: somebody {}", deed.says);
        self.healed = healed();
        took
    }
}

/// How often what was undone.
fn healed() -> BTreeMap<String, u64> {
    let text = get("/metrics");
    let lines =
        text.lines().filter_map(|line| line.strip_prefix("twill_drift_healed_total{kind=\""));
    let pairs = lines.filter_map(|line| line.split_once("\"} "));
    pairs.map(|(kind, count)| (kind.to_owned(), count.parse().expect("a number"))).collect()
}

/// Echoes do not leave.
const MUTE: [&str; 4] = [
    "nft add table inet mute",
    "nft add chain inet mute out '{ type filter hook output priority 0; }'",
    "nft add rule inet mute out icmp type echo-request drop",
    "nft add rule inet mute out icmpv6 type echo-request drop",
];

#[track_caller]
fn type_in(line: &str) {
    try_command(line).unwrap_or_else(|error| panic!("{line}: {error}"));
}

fn of_family(line: &str, family: Family) -> String {
    match family {
        Family::V4 => line.to_owned(),
        Family::V6 => in_ipv6(line),
    }
}

/// The tunnel device's address, which is the first of this host's block.
fn own_address(family: Family) -> String {
    let text = subnet_env();
    let (name, end) = match family {
        Family::V4 => ("FLANNEL_SUBNET=", "1/24"),
        Family::V6 => ("FLANNEL_IPV6_SUBNET=", "1/64"),
    };
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a subnet");
    let base = line.strip_suffix(end).expect("its first host");
    match family {
        Family::V4 => format!("{base}0/32"),
        Family::V6 => format!("{base}/128"),
    }
}
