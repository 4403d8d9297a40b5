//! Applies another configuration of the network while the host runs.
//!
//! First the new way is made ready beside the old one, then peers are told, and the old way goes when
//! no lease names it any more. What cannot be applied changes nothing, and is said.

use std::collections::BTreeSet;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::time::Instant;
use twill_core::config::{NetworkConfig, Range, changes};
use twill_core::firewall::Policy;
use twill_core::ids::Revision;
use twill_core::lease::LeaseValue;
use twill_core::peers::{Own, View};
use twill_core::subnet_env::SubnetEnv;
use twill_core::wireguard::PrivateKey;
use twill_store::{ConfigText, Store};

use crate::bootstrap::Agent;
use crate::failure::Failure;
use crate::follow::Told;
use crate::memory::Applied;
use crate::patience::tell_systemd;
use crate::reconcile::Stood;
use crate::setup::Setup;
use crate::trouble::Trouble;
use crate::wake::{heard, until};

/// How long a way is kept that no lease names: hosts that were told last must have looked by then.
const GRACE: Duration = Duration::from_secs(10);

/// Whoever owns a part of this host hears here what it should be like.
#[derive(Debug)]
pub(crate) struct Outlets {
    pub(crate) setup: watch::Sender<Setup>,
    pub(crate) own: watch::Sender<Own>,
    pub(crate) value: watch::Sender<LeaseValue>,
    pub(crate) policies: watch::Sender<Vec<Policy>>,
    pub(crate) env: watch::Sender<SubnetEnv>,
    pub(crate) applied: watch::Sender<Applied>,
}

/// What there is to hear.
#[derive(Debug)]
pub(crate) struct Inlets {
    /// The newest configuration; `None` until one was seen.
    pub(crate) config: watch::Receiver<Option<Told>>,
    pub(crate) view: watch::Receiver<View>,
    /// What stands.
    pub(crate) stands: watch::Receiver<Option<Stood>>,
    /// What the uplink is called.
    pub(crate) named: watch::Receiver<String>,
}

/// The network has no place any more for this host's subnet.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Outgrown;

#[derive(Debug, Eq, PartialEq)]
enum Verdict {
    Stays,
    Outgrown,
}

/// One host under changing configurations.
#[derive(Debug)]
pub(crate) struct Live {
    /// What this host goes by, and has told its peers.
    setup: Setup,
    /// What it is about to go by: being made ready.
    next: Option<Setup>,
    outlets: Outlets,
    inlets: Inlets,
    /// Earlier backends that nobody uses, and until when they are kept all the same.
    unused: Option<(BTreeSet<Revision>, Instant)>,
    trouble: Trouble,
    retry: Option<Instant>,
}

impl Live {
    pub(crate) fn new(setup: Setup, outlets: Outlets, inlets: Inlets) -> Self {
        let (trouble, retry) = (Trouble::default(), None);
        Self { setup, next: None, outlets, inlets, unused: None, trouble, retry }
    }

    /// Where it tells what this host should be like.
    pub(crate) fn outlets(&self) -> &Outlets {
        &self.outlets
    }

    /// Returns when the network has no place any more for this host's subnet: it has to join again.
    /// Dropping it leaves everything as it is.
    pub(crate) async fn run<S: Store>(mut self, agent: &Agent<S>) -> Outgrown {
        // What the host joined by need not be the newest.
        let mut looks = true;
        loop {
            if looks && self.look(agent).await == Verdict::Outgrown {
                return Outgrown;
            }
            self.retire(agent);
            looks = tokio::select! {
                () = heard(&mut self.inlets.config) => true,
                () = until(self.retry) => true,
                () = heard(&mut self.inlets.stands) => {
                    self.announce(agent);
                    self.let_go(agent);
                    false
                }
                () = heard(&mut self.inlets.named) => {
                    self.rename();
                    false
                }
                () = heard(&mut self.inlets.view) => false,
                () = until(self.unused.as_ref().map(|(_unused, end)| *end)) => false,
            };
        }
    }

    /// Looks at the newest configuration.
    async fn look<S: Store>(&mut self, agent: &Agent<S>) -> Verdict {
        self.retry = None;
        let told = self.inlets.config.borrow_and_update().clone();
        match told {
            None => {}
            // Whoever follows the networks has this host leave.
            Some(None) if agent.flags.etcd.watch_networks => {}
            Some(None) => _ = self.complain(agent, &agent.deleted()),
            // Also back to that: etcd may have been put back from a copy.
            Some(Some(text)) if text.revision == self.newest().written => self.is_content(agent),
            Some(Some(ConfigText { text, revision })) => match NetworkConfig::parse(&text) {
                Ok(config) => return self.consider(agent, config, revision).await,
                Err(error) => _ = self.complain(agent, &agent.broken(revision, error)),
            },
        }
        Verdict::Stays
    }

    /// Rules and settings name the uplink.
    fn rename(&mut self) {
        let name = self.inlets.named.borrow_and_update().clone();
        for setup in std::iter::once(&mut self.setup).chain(&mut self.next) {
            setup.sides_mut().for_each(|side| side.uplink.name.clone_from(&name));
        }
        self.hand_on();
    }

    /// The rules first: peers may send by a new way as soon as they hear of it.
    fn hand_on(&self) {
        self.outlets.policies.send_modify(|policies| {
            for (policy, half) in policies.iter_mut().zip(self.newest().halves()) {
                policy.entrances = half.entrances();
            }
        });
        self.outlets.setup.send_replace(self.newest().clone());
    }

    fn newest(&self) -> &Setup {
        self.next.as_ref().unwrap_or(&self.setup)
    }

    /// Hands a configuration on that keeps the rules, if this host can go by it.
    async fn consider<S: Store>(
        &mut self,
        agent: &Agent<S>,
        config: NetworkConfig,
        revision: Revision,
    ) -> Verdict {
        if let Err(failure) = agent.claim_besides(&self.setup, &config, revision).await {
            self.retry = Some(Instant::now() + self.complain(agent, &failure));
            return Verdict::Stays;
        }
        if !config.admits(self.setup.key()) {
            // Once it has left it would stand with nothing.
            if let Err(failure) = agent.could_join(&config).await {
                self.retry = Some(Instant::now() + self.complain(agent, &failure));
                self.let_go(agent);
                return Verdict::Stays;
            }
            let (from, to) = (ranges(&self.setup.config), ranges(&config));
            tracing::warn!(
                %revision, subnet = %self.setup.key().words(),
                "the network changes from {from} to {to}, which has no place for this host's subnet: \
                 joining again",
            );
            return Verdict::Outgrown;
        }
        match agent.another_setup(&self.setup, config, revision).await {
            Ok(next) => {
                self.next = Some(next);
                // What may still be in its way is told by whoever makes it ready.
                self.is_content(agent);
                self.hand_on();
            }
            Err(failure) => {
                self.retry = Some(Instant::now() + self.complain(agent, &failure));
                self.let_go(agent);
            }
        }
        Verdict::Stays
    }

    /// The host goes on by the configuration before. Answers when it pays to try again.
    fn complain<S: Store>(&mut self, agent: &Agent<S>, failure: &Failure) -> Duration {
        let line = failure.line();
        let (wait, new) = self.trouble.meet(&line);
        if new {
            let hint = failure.way_out();
            tracing::error!(hint, "the configuration stays as it was: {line}");
        }
        tell(agent, Some(line));
        wait
    }

    /// The host goes by the newest configuration.
    fn is_content<S: Store>(&mut self, agent: &Agent<S>) {
        if self.trouble.over() {
            tell(agent, None);
        }
    }

    /// The new way stands: tells everybody.
    fn announce<S: Store>(&mut self, agent: &Agent<S>) {
        let stands = self.inlets.stands.borrow_and_update().as_ref().map(|(written, _)| *written);
        let Some(next) = self.next.take_if(|next| stands == Some(next.written)) else { return };
        for difference in changes(&self.setup.config, &next.config) {
            tracing::info!("configuration applied: {difference}");
        }
        let moved = next.serving.current().since != self.setup.serving.current().since;
        self.setup = next;
        self.trouble.over();
        self.tell_own();
        self.outlets.value.send_if_modified(|value| {
            let (backend, ipv6) = self.setup.told();
            // Said again although it is the same, it tells peers by its time.
            let differs = value.backend != backend || value.ipv6 != ipv6 || moved;
            (value.backend, value.ipv6) = (backend, ipv6);
            differs
        });
        self.outlets.applied.send_replace((self.setup.config.clone(), self.setup.written));
        self.outlets.policies.send_modify(|policies| {
            for (policy, network) in policies.iter_mut().zip(self.setup.config.networks()) {
                policy.network = network;
                policy.nftables = self.setup.config.nftables;
            }
        });
        self.publish(agent);
        self.tell_board(agent);
        tell(agent, None);
    }

    /// Once its devices are gone, what is served no more is there for others.
    fn let_go<S: Store>(&self, agent: &Agent<S>) {
        let newest = self.newest();
        let stands = self.inlets.stands.borrow();
        if stands.as_ref().is_some_and(|(_, ways)| *ways == newest.serving.ways()) {
            agent.let_go_of_all_but(newest, &self.setup.config);
        }
    }

    fn tell_own(&self) {
        self.outlets.own.send_modify(|own| {
            own.home.network = self.setup.config.network;
            if let (Some(home), Some(range)) = (&mut own.ipv6, self.setup.config.ipv6) {
                home.network = range.network;
            }
            own.mac = self.setup.kept.mac;
            own.key = self.setup.kept.key.map(PrivateKey::public);
            own.serving = self.setup.serving.clone();
        });
    }

    fn publish<S: Store>(&self, agent: &Agent<S>) {
        let mtu = self.setup.mtu();
        let another = self.outlets.env.send_if_modified(|env| {
            let before = *env;
            env.network = self.setup.config.network;
            env.ipv6 = self.setup.ipv6_blocks();
            if let Ok(mtu) = mtu {
                env.mtu = mtu;
            }
            *env != before
        });
        if another {
            let env = *self.outlets.env.borrow();
            match agent.publish(&env) {
                Ok(()) => {
                    tracing::info!(network = %self.setup.config.words(), mtu = %env.mtu, "published");
                }
                // The one who keeps the files tries again, and says why they are not as they should be.
                Err(error) => tracing::debug!("not published yet: {error:#}"),
            }
        }
    }

    fn tell_board<S: Store>(&self, agent: &Agent<S>) {
        let setup = &self.setup;
        agent.board.serves(|status| {
            status.network = setup.config.network;
            status.ipv6 = setup.ipv6_status();
            setup.config.backend.name().clone_into(&mut status.backend);
            status.device = setup.device_name();
            status.mtu = setup.mtu().unwrap_or(status.mtu);
            status.earlier = setup.earlier();
        });
    }

    /// Takes earlier backends out of service that nobody has used for a while.
    fn retire<S: Store>(&mut self, agent: &Agent<S>) {
        let unused = self.unused_now();
        if unused.is_empty() {
            self.unused = None;
            return;
        }
        match &self.unused {
            Some((known, end)) if *known == unused => {
                if *end > Instant::now() {
                    return;
                }
            }
            _others => {
                self.unused = Some((unused, Instant::now() + GRACE));
                return;
            }
        }
        self.unused = None;
        for setup in std::iter::once(&mut self.setup).chain(&mut self.next) {
            setup.serving.retire(|since| !unused.contains(&since));
        }
        if let Err(failure) = agent.shelf.keep_serving(&self.newest().serving) {
            tracing::warn!("a start would serve them again: {}", failure.line());
        }
        self.tell_own();
        self.hand_on();
        self.tell_board(agent);
    }

    /// None while peers do not know yet that this host has moved.
    fn unused_now(&mut self) -> BTreeSet<Revision> {
        let view = self.inlets.view.borrow_and_update();
        let serving = &self.setup.serving;
        if view.told != Some(serving.current().backend.way()) {
            return BTreeSet::new();
        }
        let earlier = serving.earlier().iter().map(|served| served.since);
        earlier.filter(|since| !view.used.contains(since)).collect()
    }
}

/// The networks with the first and the last of their subnets.
fn ranges(config: &NetworkConfig) -> String {
    let range = |Range { network, subnet_min, subnet_max, .. }: Range| {
        format!("{network} ({subnet_min} to {subnet_max})")
    };
    config.ranges().map(range).collect::<Vec<_>>().join(" and ")
}

/// Why the newest configuration is not the one that this host goes by, if so.
fn tell<S>(agent: &Agent<S>, error: Option<String>) {
    agent.board.configuration(error);
    tell_systemd(&[NotifyState::Status(&agent.board.headline())]);
}
