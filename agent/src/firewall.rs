//! Keeps the firewall and the forwarding switch as they must be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use tokio::sync::{Mutex, watch};
use twill_core::firewall::choose::Wish;
use twill_core::firewall::{Clients, Engine, Masquerade, Policy, Ports};
use twill_core::ids::Family;
use twill_core::ids::NetworkName;
use twill_net::firewall::{Firewall, Programs, Watch};
use twill_net::sysctl;

use crate::flags;
use crate::metrics::Meters;
use crate::setup::{Half, Setup};
use crate::status::{Board, Boards};
use crate::trouble::Trouble;
use crate::wake::heard;

/// What had to be put in place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Repaired {
    rules: bool,
    forwarding: bool,
}

/// What the host's networks want of its firewall, by their names.
type Policies = BTreeMap<Option<NetworkName>, Vec<Policy>>;

/// The host's firewall: one for all its networks, and one transaction.
#[derive(Clone, Debug)]
pub(crate) struct Wall {
    policies: watch::Sender<Policies>,
    guard: Arc<Mutex<Guard>>,
}

/// Who looks and writes, one at a time.
#[derive(Debug)]
struct Guard {
    programs: Programs,
    wish: Wish,
    /// What is the host's.
    meters: Meters,
    chosen: Option<Chosen>,
    /// What stood when it looked last.
    stood: Option<Policies>,
}

/// An engine, and what the networks' configurations said when it was chosen.
#[derive(Debug)]
struct Chosen {
    nftables: bool,
    firewall: Firewall,
}

impl Wall {
    /// Nothing is looked at or written before some network has said what it wants: what an earlier run
    /// wrote stands until then.
    pub(crate) fn new(programs: &Programs, wish: Wish, meters: &Meters) -> Self {
        let (programs, meters) = (programs.clone(), meters.clone());
        let guard = Guard { programs, wish, meters, chosen: None, stood: None };
        Self { policies: watch::Sender::default(), guard: Arc::new(Mutex::new(guard)) }
    }

    /// What a network wants from now on, and still does when it joins again.
    pub(crate) fn put(&self, name: Option<&NetworkName>, wanted: Vec<Policy>) {
        self.policies.send_if_modified(|policies| {
            let before = policies.insert(name.cloned(), wanted.clone());
            before != Some(wanted)
        });
    }

    /// Says what the rules are written with, and what for.
    pub(crate) async fn tell(&self, board: &Board) {
        let guard = self.guard.lock().await;
        let engine = guard.chosen.as_ref().map(|chosen| chosen.firewall.engine());
        let policies =
            guard.stood.as_ref().map(|stood| stood.values().flatten().cloned().collect());
        board.rules(engine.zip(policies));
    }

    /// What the rules are written with, once they are, if the administrator has said with what.
    pub(crate) async fn wished(&self) -> Option<Engine> {
        let guard = self.guard.lock().await;
        let chosen = guard.chosen.as_ref().filter(|_chosen| guard.wish != Wish::Auto);
        chosen.map(|chosen| chosen.firewall.engine())
    }

    /// Tells of changed rules from now on, if the kernel does.
    pub(crate) async fn watch(&self) -> Option<Watch> {
        self.guard.lock().await.programs.watch().ok().flatten()
    }

    /// [`Self::put`] whenever a network wants something else, for ever.
    pub(crate) async fn follow(
        self,
        name: Option<NetworkName>,
        mut policies: watch::Receiver<Vec<Policy>>,
    ) {
        loop {
            let wanted = policies.borrow_and_update().clone();
            self.put(name.as_ref(), wanted);
            heard(&mut policies).await;
        }
    }

    /// Writes what is missing of that which the networks want now; tells what was.
    pub(crate) async fn bring(&self) -> Result<Repaired, twill_net::Error> {
        let mut guard = self.guard.lock().await;
        let policies = self.policies.borrow().clone();
        if guard.stood.as_ref() == Some(&policies) {
            return Ok(Repaired { rules: false, forwarding: false });
        }
        guard.ensure(policies).await
    }

    /// Takes the rules of a network away that the host is in no more; without any, all that are ours.
    pub(crate) async fn leave(&self, name: &NetworkName) -> Result<(), twill_net::Error> {
        self.policies.send_if_modified(|policies| policies.remove(&Some(name.clone())).is_some());
        self.bring().await.map(drop)
    }

    /// Looks again each `period`, and at once when somebody changed the host's rules, for ever.
    pub(crate) async fn keep(self, period: Duration, boards: Boards) {
        let mut policies = self.policies.subscribe();
        let mut trouble = Trouble::default();
        let mut watch = self.guard.lock().await.programs.watch().unwrap_or_else(|error| {
            tracing::warn!(%error, "changed firewall rules are found by the timer only");
            None
        });
        let tell = |error: Option<&String>| {
            boards.all().iter().for_each(|(_name, board)| board.firewall(error.cloned()));
        };
        loop {
            let mut meant = false;
            tokio::select! {
                () = tokio::time::sleep(jittered(period)) => {}
                () = heard(&mut policies) => meant = true,
                () = changed(&mut watch) => tokio::time::sleep(SETTLE).await,
            }
            // They may have changed while somebody else's change settled.
            meant |= policies.has_changed().unwrap_or_default();
            let wanted = policies.borrow_and_update().clone();
            if wanted.is_empty() {
                continue;
            }
            let done = if meant {
                self.bring().await
            } else {
                self.guard.lock().await.ensure(wanted).await
            };
            match done {
                Ok(repaired) => {
                    for (_name, board) in boards.all() {
                        self.tell(&board).await;
                    }
                    if repaired.count(boards.meters(), meant) {
                        tracing::warn!("firewall rules or forwarding had been changed, put back");
                    }
                    if trouble.over() {
                        tracing::info!("the firewall is in place again");
                        tell(None);
                    }
                }
                Err(error) => {
                    let error = format!("{:#}", anyhow::Error::new(error));
                    if trouble.meet(&error).1 {
                        tracing::error!(error, "cannot keep the firewall");
                    }
                    tell(Some(&error));
                }
            }
        }
    }
}

impl Guard {
    async fn ensure(&mut self, policies: Policies) -> Result<Repaired, twill_net::Error> {
        self.stood = None;
        if policies.is_empty() {
            self.chosen = None;
            self.programs.clear_rules().await?;
            self.stood = Some(policies);
            return Ok(Repaired { rules: false, forwarding: false });
        }
        // That of IPv6 depends on the uplink, and is seen to with the devices.
        let ipv4 = policies.values().flatten().any(|policy| policy.family() == Family::V4);
        let forwarding = ipv4 && sysctl::ensure_forwarding()?;
        let wanted: Vec<Policy> = policies.values().flatten().cloned().collect();
        let rules = self.rules(&wanted).await;
        self.meters.firewall(&rules);
        let rules = rules?;
        self.stood = Some(policies);
        Ok(Repaired { rules, forwarding })
    }

    async fn rules(&mut self, policies: &[Policy]) -> Result<bool, twill_net::Error> {
        let nftables = policies.iter().any(|policy| policy.nftables);
        self.firewall(nftables).await?.ensure(policies).await
    }

    /// With the engine that was chosen, which the networks' configurations may change.
    async fn firewall(&mut self, nftables: bool) -> Result<&mut Firewall, twill_net::Error> {
        let chosen = match self.chosen.take() {
            Some(chosen) if chosen.nftables == nftables => chosen,
            before => {
                let engine = self.programs.choose(self.wish, nftables).await?;
                let before = before.map(|chosen| chosen.firewall);
                let same = before.filter(|firewall| firewall.engine() == engine);
                let firewall = same.unwrap_or_else(|| {
                    tracing::info!(%engine, "firewall");
                    Firewall::new(self.programs.clone(), engine)
                });
                Chosen { nftables, firewall }
            }
        };
        Ok(&mut self.chosen.insert(chosen).firewall)
    }
}

impl Repaired {
    /// Counts what nobody meant to change; tells whether there was anything.
    fn count(self, meters: &Meters, meant: bool) -> bool {
        let rules = self.rules && !meant;
        if rules {
            meters.healed("rule");
        }
        if self.forwarding {
            meters.healed("sysctl");
        }
        rules || self.forwarding
    }
}

/// Whoever writes rules seldom writes one: Docker's restart is a hundred changes and one look.
pub(crate) const SETTLE: Duration = Duration::from_millis(200);

pub(crate) async fn changed(watch: &mut Option<Watch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// What one network needs of the host's firewall: for each family, as they are apart in there.
pub(crate) fn policies(flags: &flags::Firewall, setup: &Setup) -> Vec<Policy> {
    setup.halves().map(|half| policy(flags, &half)).collect()
}

fn policy(flags: &flags::Firewall, setup: &Half) -> Policy {
    Policy {
        network: setup.config.network,
        subnet: setup.subnet,
        masquerade: masquerade(&flags.masquerade),
        forward: flags.iptables_forward_rules,
        entrances: setup.entrances(),
        nftables: setup.config.nftables,
    }
}

/// What the administrator wants of the masquerade rules.
fn masquerade(flags: &flags::Masquerade) -> Option<Masquerade> {
    let plain = flags.ip_masq_fully_random_disable;
    let ports = if plain { Ports::Plain } else { Ports::FullyRandom };
    let clients = if flags.preserve_client_ip { Clients::Kept } else { Clients::Hidden };
    flags.ip_masq.then_some(Masquerade { ports, clients })
}

/// Up to a tenth more or less, so that hosts which started together do not stay in step.
pub(crate) fn jittered(period: Duration) -> Duration {
    period.mul_f64(rand::rng().random_range(0.9..=1.1))
}
