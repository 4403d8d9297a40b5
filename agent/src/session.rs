//! One membership from its first row to its end: the five tasks that run side by side.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use twill_core::firewall::Policy;
use twill_core::lease::Event;
use twill_core::node::NodeRecord;
use twill_core::peers::Known;
use twill_core::status::{EtcdState, Status};
use twill_core::subnet_env::SubnetEnv;
use twill_store::{Follow, Store};

use crate::bootstrap::{Agent, Membership, choice};
use crate::claim::Wish;
use crate::failure::Failure;
use crate::firewall::{Guard, masquerade};
use crate::follow::{News, follow, warn_of};
use crate::keeper::Keeper;
use crate::patience::tell_systemd;
use crate::publish::{self, publish};
use crate::reconcile::Reconciler;

/// How long a pass may take to end when the agent stops.
const LAST_PASS: Duration = Duration::from_secs(2);

/// A membership with its device, firewall and rows in place, published.
#[derive(Debug)]
pub(crate) struct Session {
    membership: Membership,
    reconciler: Reconciler,
    guard: Guard,
    known: Known,
    news: News,
    published: SubnetEnv,
}

/// Why a session ended.
#[derive(Debug)]
pub(crate) enum End {
    /// We were told to stop.
    Stopped,
    /// The host has to join again.
    Again,
    /// A task died, which only a mistake of ours can bring about.
    Died,
}

impl Session {
    /// The rest of the start, in its order: device and rows, firewall, and only then the files.
    pub(crate) async fn open<S: Store>(
        agent: &Agent<S>,
        membership: Membership,
    ) -> Result<Self, Failure> {
        let mut known = Known::default();
        known.fold(Event::Snapshot(membership.listing.clone()));
        known.fold(Event::Put(membership.held.lease.clone()));
        let (own_lease, _) = watch::channel(Some(membership.held.lease.clone()));
        let (view, peers) = watch::channel(known.view(&membership.own()));
        let news = News { view, own: own_lease };
        agent.board.joined(status(agent, &membership));
        agent.board.view(&news.view.borrow());
        news.view.borrow().ignored.iter().for_each(warn_of);
        let guard = guard(agent, &membership);
        let place = (&membership, choice(&agent.flags.address));
        let mut reconciler = Reconciler::new(&agent.kernel, place, (peers, agent.board.clone()))?;
        // The firewall needs nothing of the device, and other programs to write it.
        let (firewall, rows) = tokio::join!(guard.ensure(), reconciler.pass());
        firewall?;
        if let Err(failure) = rows?.complete() {
            // One bad row is no reason to keep this host's containers waiting: the loop goes on.
            tracing::error!("a row is missing: {}", failure.line());
            agent.board.pass(Some(failure.line()));
        }
        let env = SubnetEnv {
            network: membership.wish.config.network,
            subnet: membership.subnet(),
            mtu: membership.spec.mtu(),
            ip_masq: agent.flags.firewall.ip_masq,
        };
        publish(&agent.flags.files, &env)?;
        agent.board.published();
        tracing::info!(subnet = %env.subnet, mtu = %env.mtu, "bootstrap done");
        let text = format!("subnet {} of {}, {}", env.subnet, env.network, membership.spec.name());
        tell_systemd(&[NotifyState::Status(&text), NotifyState::Ready]);
        Ok(Self { membership, reconciler, guard, known, news, published: env })
    }

    /// Runs until the host has to join again, or until `stop`.
    pub(crate) async fn run<S: Store>(
        self,
        agent: &Agent<S>,
        mut stop: watch::Receiver<bool>,
    ) -> End
    where
        S::Watch: std::fmt::Debug,
    {
        let Self { membership, reconciler, guard, known, news, published } = self;
        let (told, listens) = watch::channel(false);
        let mut others = JoinSet::new();
        let keeper = keeper(agent, &membership, news.own.subscribe());
        let own = membership.own();
        let story = Follow::after(agent.store.clone(), membership.listing.revision);
        others.spawn(follow(story, (own, known), (news, agent.board.clone())));
        others.spawn(guard.run(agent.flags.firewall.iptables_resync, agent.board.clone()));
        others.spawn(publish::keep(agent.flags.files.clone(), published, agent.flags.resync));
        let mut rows = tokio::spawn(reconciler.run(agent.flags.resync, listens));
        let keeper = keeper.run();
        let end = tokio::select! {
            _stopped = stop.wait_for(|stop| *stop) => End::Stopped,
            _displaced = keeper => End::Again,
            _died = others.join_next() => End::Died,
            uprooted = &mut rows => {
                return if uprooted.is_ok() { End::Again } else { End::Died };
            }
        };
        // What is under way is finished; everything else can be dropped at any moment.
        told.send_replace(true);
        if timeout(LAST_PASS, &mut rows).await.is_err() {
            tracing::warn!("the last pass did not end in time, leaving it");
            rows.abort();
        }
        end
    }
}

fn guard<S>(agent: &Agent<S>, membership: &Membership) -> Guard {
    let flags = &agent.flags.firewall;
    let policy = Policy {
        network: membership.wish.config.network,
        subnet: membership.subnet(),
        masquerade: masquerade(flags, &agent.firewall),
        forward: flags.iptables_forward_rules,
    };
    Guard { firewall: agent.firewall, policy }
}

fn keeper<S: Store>(
    agent: &Agent<S>,
    membership: &Membership,
    seen: watch::Receiver<Option<twill_core::lease::Lease>>,
) -> Keeper<S> {
    let record = NodeRecord {
        id: membership.wish.node,
        hostname: hostname(),
        public_ip: membership.wish.public_ip,
        subnet: membership.subnet(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started: agent.started,
    };
    Keeper {
        store: agent.store.clone(),
        // Who has a subnet keeps it, also under a configuration that was written since.
        wish: Wish { written: None, ..membership.wish.clone() },
        held: membership.held.clone(),
        since: membership.since,
        margin: agent.flags.subnet_lease_renew_margin,
        seen,
        withdraw: membership.withdraw.clone(),
        record,
        board: agent.board.clone(),
    }
}

fn status<S>(agent: &Agent<S>, membership: &Membership) -> Status {
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node: agent.identity.node,
        hostname: hostname(),
        backend: membership.wish.config.backend.name().to_owned(),
        device: membership.spec.name().to_owned(),
        mtu: membership.spec.mtu(),
        network: membership.wish.config.network,
        subnet: membership.subnet(),
        public_ip: membership.wish.public_ip,
        lease_expires: None,
        etcd: EtcdState::Connected,
        peers: Vec::new(),
        ignored: Vec::new(),
        pending: Vec::new(),
        last_error: None,
    }
}

fn hostname() -> String {
    nix::unistd::gethostname()
        .map_or_else(|_errno| "localhost".to_owned(), |name| name.to_string_lossy().into_owned())
}
