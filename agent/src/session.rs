//! One membership from its first row to its end: the tasks that run side by side.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tracing::Instrument as _;
use twill_core::firewall::gate::Table;
use twill_core::ids::{Mtu, NodeId};
use twill_core::lease::Event;
use twill_core::peers::{Known, View};
use twill_core::status::{EtcdState, SCHEMA, Status};
use twill_core::subnet_env::SubnetEnv;
use twill_store::{Follow, Scope, Store};

use crate::blueprint::Sources;
use crate::bootstrap::{Agent, Membership, Past, Place, choices};
use crate::extension;
use crate::failure::Failure;
use crate::firewall::policies;
use crate::follow::{News, follow, warn_of};
use crate::gate::Gatekeeper;
use crate::live::{Inlets, Live, Outgrown, Outlets};
use crate::memory::{self, Keep};
use crate::ownership::{Belief, Keeper, Left, Tenant, Wish, mine};
use crate::patience::tell_systemd_of;
use crate::publish;
use crate::reconcile::{Reconciler, Uprooted, Wires};
use crate::setup::Setup;
use crate::stay::Order;

/// How long a pass may take to end when the agent stops.
const LAST_PASS: Duration = Duration::from_secs(2);

/// A membership with its device, firewall and rows in place, published.
#[derive(Debug)]
pub(crate) struct Session<S> {
    membership: Membership,
    tenant: Tenant<S>,
    reconciler: Reconciler,
    known: Known,
    news: News,
    live: Live,
}

/// Why a session ended.
#[derive(Debug)]
pub(crate) enum End {
    /// We were told to stop.
    Stopped,
    /// The uplink is another one now: the host joins again with the lease that it has.
    Uprooted(Box<Past>),
    /// The network has another configuration now, without a place for this host's subnet.
    Outgrown,
    /// The lease is another's: the host begins again without one.
    Left(Left),
    /// Another network has found out that this host has the node id of another one: it begins again as the
    /// one that it is now.
    Renamed,
    /// A task died, which only a mistake of ours can bring about.
    Died,
}

impl<S: Store> Session<S> {
    /// The rest of the start, in its order: device and rows, firewall, and only then the files.
    pub(crate) async fn open(agent: &Agent<S>, place: Place<S>) -> Result<Self, Failure> {
        let (membership, tenant) = place;
        let mut known = Known::default();
        known.fold(Event::Snapshot(membership.listing.clone()));
        known.fold(Event::Put(membership.held.lease.clone()));
        let own = membership.own();
        let (view, peers) = watch::channel(known.view(&own));
        let mine = mine(&known, (own.node, own.key()), None);
        let news = News::new(view, mine, membership.told.clone());
        let env = env(agent, &membership)?;
        introduce(agent, (&membership, env.mtu), &news.view.borrow());
        let (stand, stands) = watch::channel(None);
        let (name, named) = watch::channel(membership.setup.side.uplink.name.clone());
        let applied = (membership.setup.config.clone(), membership.setup.written);
        let outlets = Outlets {
            setup: watch::Sender::new(membership.setup.clone()),
            own: watch::Sender::new(own),
            value: watch::Sender::new(membership.wish.value.clone()),
            policies: watch::Sender::new(policies(&agent.flags.firewall, &membership.setup)),
            env: watch::Sender::new(env),
            applied: watch::Sender::new(applied),
        };
        let inlets = Inlets { config: news.config.subscribe(), view: peers.clone(), stands, named };
        let table = Table::of(agent.name.as_ref());
        agent.board.goes_by(sources(&outlets, &peers, &table));
        let (setup, record) = (outlets.setup.subscribe(), record(agent));
        let gate = Gatekeeper::new(&agent.host.programs, table, &agent.board);
        let shared = (agent.host.books.clone(), agent.name.clone());
        let wires = Wires { peers, setup, stands: stand, named: name, record, gate, shared };
        let choices = choices(&agent.flags.address, &membership.setup);
        let mut reconciler = Reconciler::new(&agent.kernel, choices, wires, agent.board.clone())?;
        // The firewall needs nothing of the device, and other programs to write it.
        let wall = &agent.host.wall;
        wall.put(agent.name.as_ref(), outlets.policies.borrow().clone());
        let (firewall, rows) = tokio::join!(wall.bring(), reconciler.first_pass());
        firewall?;
        wall.tell(&agent.board).await;
        let pass = rows?.with_every_device()?;
        if let Err(failure) = pass.complete() {
            // One bad row is no reason to keep this host's containers waiting: the loop goes on.
            tracing::error!("a row is missing: {}", failure.line());
            agent.board.pass(Some(failure.line()));
        }
        agent.publish(&env)?;
        agent.board.published();
        announce(agent, &membership.setup).await;
        // Whoever dies before this is asked again who it is.
        agent.identity().settle()?;
        tracing::info!(subnet = %membership.setup.key().words(), mtu = %env.mtu, "bootstrap done");
        tell_systemd_of(&agent.board);
        let live = Live::new(membership.setup.clone(), outlets, inlets);
        Ok(Self { membership, tenant, reconciler, known, news, live })
    }

    /// Who this host is in it.
    pub(crate) fn node(&self) -> NodeId {
        self.membership.wish.node
    }

    /// Runs until the host has to join again, or until it is told to stop.
    pub(crate) async fn run(self, agent: &Agent<S>, mut orders: watch::Receiver<Order>) -> End
    where
        S::Watch: std::fmt::Debug,
    {
        let Self { membership, tenant, reconciler, known, news, live } = self;
        let (told, listens) = watch::channel(false);
        let mut others = JoinSet::new();
        let outlets = live.outlets();
        let (own, env) = (outlets.own.subscribe(), outlets.env.subscribe());
        let (says, setup) = (outlets.value.subscribe(), outlets.setup.subscribe());
        let story = story(agent, &membership);
        let seen = news.mine.subscribe();
        let files = (agent.flags.files.clone(), agent.hook.clone());
        let (held, lease) = (news.held.clone(), (membership.held.clone(), membership.since));
        held.send_replace(Some(Belief::new((&lease.0, lease.1), membership.wish.ttl)));
        let mut memory = memory(agent, &membership, &news).follows(outlets.applied.subscribe());
        let span = tracing::Span::current();
        let followed = follow(story, (own, known), (news, agent.board.clone()));
        others.spawn(followed.instrument(span.clone()));
        let policies = live.outlets().policies.subscribe();
        others.spawn(agent.host.wall.clone().follow(agent.name.clone(), policies));
        others.spawn(publish::keep(files, env, agent.flags.resync).instrument(span.clone()));
        let rows = reconciler.run(agent.flags.looks(), listens);
        let mut rows = tokio::spawn(rows.instrument(span));
        let keeper = Keeper::new(tenant, lease, agent.flags.subnet_lease_renew_margin)
            .on(agent.board.clone())
            .tells(held.clone())
            .run((seen, says), membership.confirmed);
        let end = tokio::select! {
            _stopped = orders.wait_for(|order| order.ends()) => End::Stopped,
            left = keeper => End::Left(left),
            _died = others.join_next() => End::Died,
            never = memory.run() => match never {},
            () = agent.host.is_not(membership.wish.node) => End::Renamed,
            Outgrown = live.run(agent) => End::Outgrown,
            uprooted = &mut rows => {
                let held = held.borrow().as_ref().map(|belief| belief.held.clone());
                let addresses = vec![membership.wish.public_ip()];
                let held = held.or(Some(membership.held));
                let past = Past { held, addresses, forget: false };
                return uprooted.map_or(End::Died, |_uprooted| End::Uprooted(Box::new(past)));
            }
        };
        if matches!(end, End::Stopped) {
            memory.last().await;
        }
        finish(&told, rows).await;
        if matches!(end, End::Stopped) {
            let setup = setup.borrow().clone();
            extension::shut_down(&setup, &record(agent)).await;
        }
        end
    }
}

/// Tells the links where this host's addresses are now.
async fn announce<S: Store>(agent: &Agent<S>, setup: &Setup) {
    for half in setup.halves() {
        // In place of an address that is away stands what others know.
        if !agent.has(half.uplink.address).await {
            continue;
        }
        // Others find out by themselves, later.
        if let Err(error) = agent.kernel.announce(&half.uplink).await {
            tracing::debug!("{}", Failure::from(error).line());
        }
    }
}

/// Tells people who this host is, and whom it knows.
fn introduce<S>(agent: &Agent<S>, (membership, mtu): (&Membership, Mtu), view: &View) {
    agent.board.joined(status(membership, mtu));
    agent.board.lease_ends(membership.left());
    agent.board.view(view);
    view.ignored.iter().for_each(warn_of);
}

/// What is under way is finished; everything else can be dropped at any moment.
async fn finish(told: &watch::Sender<bool>, mut rows: JoinHandle<Option<Uprooted>>) {
    told.send_replace(true);
    if timeout(LAST_PASS, &mut rows).await.is_err() {
        tracing::warn!("the last pass did not end in time, leaving it");
        rows.abort();
    }
}

/// What this host should be like, at any moment.
fn sources(outlets: &Outlets, view: &watch::Receiver<View>, table: &Table) -> Sources {
    Sources {
        setup: outlets.setup.subscribe(),
        view: view.clone(),
        policies: outlets.policies.subscribe(),
        env: outlets.env.subscribe(),
        table: table.clone(),
    }
}

/// Where commands keep what they did.
fn record<S>(agent: &Agent<S>) -> PathBuf {
    agent.flags.files.state_dir.join("extension")
}

/// Goes on from what the claim was decided on; after a start from memory, with a fresh listing.
fn story<S: Store>(agent: &Agent<S>, membership: &Membership) -> Follow<S> {
    let (scope, etcd) = (Scope::Host(membership.wish.node), agent.store.clone());
    if membership.confirmed {
        Follow::after(etcd, scope, membership.listing.revision)
    } else {
        Follow::new(etcd, scope)
    }
}

/// What keeps the picture on disk of this membership.
fn memory<S>(agent: &Agent<S>, membership: &Membership, news: &News) -> Keep {
    let Wish { config, written, node, .. } = membership.wish.clone();
    let prefix = agent.flags.etcd.prefix.clone();
    let place = memory::Place { prefix, node, config, written };
    let sources = (news.known.subscribe(), news.held.subscribe());
    Keep::new(&agent.memory, place, sources).on(agent.board.clone())
}

fn env<S>(agent: &Agent<S>, membership: &Membership) -> Result<SubnetEnv, Failure> {
    Ok(SubnetEnv {
        network: membership.setup.config.network,
        subnet: membership.subnet(),
        ipv6: membership.setup.ipv6_blocks(),
        mtu: membership.setup.mtu()?,
        ip_masq: agent.flags.firewall.masquerade.ip_masq,
    })
}

fn status(membership: &Membership, mtu: Mtu) -> Status {
    let setup = &membership.setup;
    Status {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node: membership.wish.node,
        hostname: membership.wish.hostname.clone(),
        backend: setup.config.backend.name().to_owned(),
        device: setup.device_name(),
        mtu,
        network: setup.config.network,
        subnet: membership.subnet(),
        public_ip: membership.wish.public_ip(),
        ipv6: setup.ipv6_status(),
        lease_expires: None,
        etcd: if membership.confirmed { EtcdState::Connected } else { EtcdState::Away },
        standing: membership.standing(),
        peers: Vec::new(),
        ignored: Vec::new(),
        pending: Vec::new(),
        last_error: None,
        earlier: setup.earlier(),
        config_error: None,
        firewall: None,
    }
}

pub(crate) fn hostname() -> String {
    nix::unistd::gethostname()
        .map_or_else(|_errno| "localhost".to_owned(), |name| name.to_string_lossy().into_owned())
}
