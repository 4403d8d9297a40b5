//! `/doctor`: looks at this host and at the ways to its peers, and has it judged. Changes nothing.

mod firewall;
mod peers;

use std::sync::Arc;

use futures::future::join_all;
use tokio::sync::Mutex;
use twill_core::device::{address_differences, differences};
use twill_core::doctor::{self, Finding, Mtus};
use twill_core::ids::{Family, NetworkName};
use twill_core::trace;
use twill_net::{Kernel, survey};

use crate::blueprint::{Blueprint, Whole};
use crate::memory::clock_is_kept;
use crate::site::Site;
use crate::status::{Board, Boards};

pub(crate) use firewall::firewall;

/// Where containers of ours, of Docker and of Podman are.
const BRIDGES: [&str; 4] = ["twill0", "docker0", "cni0", "cni-podman0"];

/// More rows say nothing more.
const MOST_ROWS: usize = 20;

/// One host.
#[derive(Clone, Debug)]
pub(crate) struct Doctor {
    boards: Boards,
    kernel: Kernel,
    /// Two at a time would count each other's load.
    busy: Arc<Mutex<()>>,
}

impl Doctor {
    pub(crate) fn new(boards: &Boards, kernel: &Kernel) -> Self {
        Self { boards: boards.clone(), kernel: kernel.clone(), busy: Arc::default() }
    }

    /// Everything that was looked at, good or bad.
    pub(crate) async fn examine(&self) -> Vec<Finding> {
        let _alone = self.busy.lock().await;
        let all = self.boards.all();
        let agent = |(name, board)| of_network(name, agent(board));
        let mut findings = self.following();
        findings.extend(all.iter().map(|(name, board)| (name.as_ref(), board)).flat_map(agent));
        findings.extend(host());
        // Before that there is nothing of ours to look at.
        let wholes = all.iter().filter_map(|(name, board)| Some((name, board.whole().ok()?)));
        let networks = wholes.map(|(name, whole)| async move {
            of_network(name.as_ref(), network(&self.kernel, &whole).await)
        });
        findings.extend(join_all(networks).await.into_iter().flatten());
        findings
    }
}

impl Doctor {
    /// What is wrong with the list of networks, on a host that follows it.
    fn following(&self) -> Vec<Finding> {
        let Some(following) = self.boards.followed() else { return Vec::new() };
        let hint = "`twillctl status`, `journalctl -u twilld`";
        let fail = |why: String| Finding::fail("networks", why, hint);
        let warn = |why: String| Finding::warn("networks", why, hint);
        let mut findings: Vec<_> = following.unready().into_iter().map(fail).collect();
        findings.extend(following.degraded().into_iter().map(warn));
        findings
    }
}

/// What the agent knows to be wrong with a network.
fn agent(board: &Board) -> Vec<Finding> {
    let hint = "`twillctl status`, `journalctl -u twilld`";
    let fail = |why: String| Finding::fail("agent", why, hint);
    let warn = |why: String| Finding::warn("agent", why, hint);
    let mut findings: Vec<_> = board.unready().into_iter().map(fail).collect();
    findings.extend(board.degraded().into_iter().map(warn));
    if let Ok(status) = board.status() {
        findings.extend(status.ignored.into_iter().map(|lease| {
            let what = format!("the lease {} is not used: {}", lease.key, lease.why);
            Finding::warn("leases", what, "`twillctl lease show`")
        }));
    }
    let refused = board.refused_lately().into_iter();
    findings.extend(refused.map(|(refusal, packets)| doctor::refused(refusal, packets)));
    if findings.is_empty() {
        findings.push(Finding::ok("agent", "ready"));
    }
    findings
}

/// On a host in several networks it is said which one it is about.
pub(crate) fn of_network(name: Option<&NetworkName>, findings: Vec<Finding>) -> Vec<Finding> {
    let Some(name) = name else { return findings };
    let named =
        |finding: Finding| Finding { check: format!("{name}: {}", finding.check), ..finding };
    findings.into_iter().map(named).collect()
}

/// What is the host's, and not one network's.
pub(crate) fn host() -> Vec<Finding> {
    vec![
        doctor::bridge_filter(survey::setting("bridge/bridge-nf-call-iptables").as_deref()),
        doctor::clock(clock_is_kept()),
    ]
}

/// What of a network should be on this host.
pub(crate) async fn network(kernel: &Kernel, whole: &Whole) -> Vec<Finding> {
    let blueprints: Vec<Blueprint> = whole.blueprints().collect();
    let mut findings = Vec::new();
    for (number, blueprint) in blueprints.iter().enumerate() {
        let found = family(kernel, blueprint).await;
        let known = |finding: &Finding| number > 0 && findings.contains(finding);
        let new: Vec<_> = found.into_iter().filter(|finding| !known(finding)).collect();
        findings.extend(new);
    }
    findings
}

/// As far as one family goes.
async fn family(kernel: &Kernel, blueprint: &Blueprint) -> Vec<Finding> {
    let served = blueprint.setup.serving.all();
    let backends: Vec<_> = served.map(|served| &served.backend).collect();
    let mut findings = doctor::features(&survey::kernel(), &backends, blueprint.engine);
    findings.extend(switches(blueprint));
    findings.extend(firewall(blueprint).await);
    match Site::look(kernel, blueprint).await {
        Ok(site) => findings.extend(ways(blueprint, &site)),
        Err(error) => findings.push(unknown("rows", error)),
    }
    findings.extend(peers::peers(blueprint).await);
    findings
}

/// Of each interface that packets of peers come in by.
fn switches(blueprint: &Blueprint) -> Vec<Finding> {
    let of = |name: &str, setting: &str| survey::setting(&format!("ipv4/conf/{name}/{setting}"));
    let all = of("all", "rp_filter").unwrap_or_else(|| "0".to_owned());
    let family = blueprint.setup.family();
    let mut findings =
        vec![doctor::forwarding(family, &survey::forwarding(family).unwrap_or_default())];
    if family == Family::V6 {
        // There is no other switch, and no check of sources.
        return findings;
    }
    for entrance in &blueprint.setup.entrances() {
        let name = entrance.interface();
        let own = of(name, "rp_filter");
        findings.extend(own.map(|own| doctor::source_check(name, [&all, &own])));
        let forwarding = of(name, "forwarding");
        findings.extend(forwarding.map(|value| doctor::forwarding_from(name, &value)));
    }
    findings
}

/// Interfaces, their addresses, and the rows towards peers.
fn ways(blueprint: &Blueprint, site: &Site) -> Vec<Finding> {
    let uplink = trace::uplink(&blueprint.setup.uplink, site.uplink(blueprint));
    let mut findings = vec![Finding::from(uplink)];
    for spec in site.specs.values() {
        findings.extend(doctor::devices(differences(spec, &site.interfaces)));
        findings.extend(doctor::addresses(address_differences(spec, &site.interfaces)));
    }
    findings.extend(sizes(blueprint, site));
    // With their device all rows are gone: one finding is enough.
    if site.is_complete() {
        let rows = doctor::rows(&site.wanted, &site.actual);
        let more = rows.len().saturating_sub(MOST_ROWS);
        let hint = "`twillctl status` lists them all";
        findings.extend(rows.into_iter().take(MOST_ROWS));
        let rest = (more > 0).then(|| Finding::fail("rows", format!("and {more} rows more"), hint));
        findings.extend(rest);
    }
    findings
}

fn sizes(blueprint: &Blueprint, site: &Site) -> Vec<Finding> {
    let of = |name: &str| site.interface(name).map(|seen| seen.mtu);
    let bridges = BRIDGES.iter().filter_map(|name| Some(((*name).to_owned(), of(name)?)));
    let name = blueprint.setup.device_name();
    let carried = of(&name);
    doctor::mtus(&Mtus {
        told: blueprint.mtu.bytes(),
        device: (name, carried),
        bridges: bridges.collect(),
    })
}

/// It may be well, but nobody could look.
fn unknown(check: &str, error: twill_net::Error) -> Finding {
    let hint = error.hint().unwrap_or("journalctl -u twilld").to_owned();
    Finding::warn(check, format!("{:#}", anyhow::Error::new(error)), hint)
}
