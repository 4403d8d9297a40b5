//! `/trace`: walks the way between two containers, on this host and by the other host's word. Changes
//! nothing; packets are echoes and nothing else.

mod ask;
mod ends;
mod half;
mod maps;

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::Mutex;
use twill_core::ids::Underlay;
use twill_core::peers::Peer;
use twill_core::trace::{self, End, Half, Holder, Outcome, Rest, Stage, Step, Trace};
use twill_net::netns::Netns;
use twill_net::{Error, Kernel, ping};

use crate::blueprint::Blueprint;
use crate::site::Site;
use crate::status::Boards;
use ends::{Containers, Named};
use half::{Look, is_host, peer};

pub(crate) use maps::Maps;

/// Between whom, and how the other host's agent is asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Question {
    /// An address or a container of this host.
    pub(crate) from: String,
    /// An address of the overlay, or a container of this host.
    pub(crate) to: String,
    /// The port of the other agent's health page, unless it is the same as ours.
    pub(crate) port: Option<u16>,
}

/// Why there is no answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) kind: Kind,
    pub(crate) what: String,
    pub(crate) hint: String,
}

/// What is wrong with a question.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// This host has no place in the network yet.
    NotReady,
    /// No such container, or an address that is not of this overlay.
    Unknown,
    /// The kernel cannot be looked at.
    Failed,
    /// Whoever asks is no peer.
    Stranger,
}

/// Traces for one host.
#[derive(Clone, Debug)]
pub(crate) struct Tracer {
    boards: Boards,
    kernel: Kernel,
    containers: Containers,
    /// Of our own health page, and so probably of others'.
    port: u16,
    /// One at a time, for people.
    busy: Arc<Mutex<()>>,
    /// And one for peers. It waits for nobody: two hosts that trace to each other would.
    answering: Arc<Mutex<()>>,
}

impl Tracer {
    pub(crate) fn new(boards: &Boards, kernel: &Kernel, port: u16) -> Self {
        let (boards, kernel) = (boards.clone(), kernel.clone());
        let (containers, busy, answering) = (Containers::default(), Arc::default(), Arc::default());
        Self { boards, kernel, containers, port, busy, answering }
    }

    /// The whole way.
    pub(crate) async fn trace(&self, question: &Question) -> Result<Trace, Refusal> {
        let _alone = self.busy.lock().await;
        let maps = Maps::of_now(&self.boards)?;
        maps.trace((&self.kernel, &self.containers), self.port, question).await
    }

    /// This host's half, for a peer: what it has between `from`, an address of its own, and `to`.
    pub(crate) async fn half(
        &self,
        asker: IpAddr,
        (from, to): (IpAddr, IpAddr),
    ) -> Result<Half, Refusal> {
        let maps = Maps::of_now(&self.boards)?;
        let known = |peer: &Peer| peer.underlay.0 == asker;
        let blueprint = maps.around(from);
        if !blueprint.view.peers.iter().any(known) {
            let what = format!("{asker} is no peer of this host");
            let hint = "does this host see its lease? `twillctl peers`".to_owned();
            return Err(Refusal { kind: Kind::Stranger, what, hint });
        }
        let _alone = self.answering.lock().await;
        let site = Site::look(&self.kernel, blueprint).await.map_err(failed)?;
        let (holder, _netns) = holder(&self.containers, (blueprint, &site), from);
        let look = Look { kernel: &self.kernel, blueprint, site: &site, from, to };
        Ok(look.half(&holder).await)
    }
}

/// What a trace is made on.
#[derive(Clone, Copy, Debug)]
struct Scene<'a> {
    kernel: &'a Kernel,
    blueprint: &'a Blueprint,
    /// 0: nobody knows where other agents answer.
    port: u16,
}

impl Scene<'_> {
    async fn trace(self, all: &Containers, question: &Question) -> Result<Trace, Refusal> {
        let Self { kernel, blueprint, .. } = self;
        let (from, to) = match (all.find(&question.from), all.find(&question.to)) {
            (Named::Addresses(from), Named::Addresses(to)) => pair(&from, &to)?,
            (Named::Stopped(name, how), _) | (_, Named::Stopped(name, how)) => {
                return Ok(stopped(question, (name, how)));
            }
            (Named::Elsewhere(name), _) | (_, Named::Elsewhere(name)) => {
                return Err(unknown(
                    format!("{name} has no address in the overlay network"),
                    "it was started with --network none or host",
                ));
            }
            (Named::Unknown, _) => return Err(no_such(&question.from)),
            (_, Named::Unknown) => return Err(no_such(&question.to)),
        };
        check(blueprint, from, to)?;
        let site = Site::look(kernel, blueprint).await.map_err(failed)?;
        let (holder, netns) = holder(all, (blueprint, &site), from);
        let look = Look { kernel, blueprint, site: &site, from, to };
        let ends = (end(&question.from, from), end(&question.to, to));
        if blueprint.setup.subnet.contains(to) {
            let (other, _netns) = self::holder(all, (blueprint, &site), to);
            let there = look.alone([&holder, &other]);
            let probes = probes((&holder, netns.as_ref()), to, blueprint).await;
            return Ok(Trace::new(ends, there, Rest { back: None, probes, alone: true }));
        }
        let mut there = look.half(&holder).await;
        let mut back = None;
        if let Some(peer) = peer(blueprint, to) {
            match self.ask(peer, question, (to, from)).await {
                Ok(half) => {
                    let what = format!("{}, the host of {to}, has answered", half.host);
                    there.steps.push(Step::passes(Stage::Peer, what));
                    back = Some(half);
                }
                Err(step) => there.steps.push(step),
            }
        }
        let probes = probes((&holder, netns.as_ref()), to, blueprint).await;
        Ok(Trace::new(ends, there, Rest { back, probes, alone: false }))
    }

    async fn ask(
        self,
        peer: &Peer,
        question: &Question,
        pair: (IpAddr, IpAddr),
    ) -> Result<Half, Step> {
        let Underlay(local) = self.blueprint.setup.uplink.address;
        let port = question.port.unwrap_or(self.port);
        ask::ask(local, (peer.underlay.0, port), pair).await
    }
}

fn end(asked: &str, address: IpAddr) -> End {
    End { asked: asked.to_owned(), address: Some(address) }
}

/// Of two containers those addresses that are of one family, IPv4 if both have it.
fn pair(from: &[IpAddr], to: &[IpAddr]) -> Result<(IpAddr, IpAddr), Refusal> {
    let same = |one: IpAddr| {
        let other = to.iter().find(|other| other.is_ipv4() == one.is_ipv4())?;
        Some((one, *other))
    };
    from.iter().copied().find_map(same).ok_or_else(|| {
        let list =
            |all: &[IpAddr]| all.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" and ");
        unknown(
            format!("one end has {}, the other one {}", list(from), list(to)),
            "no packet passes between IPv4 and IPv6",
        )
    })
}

/// Who has an address of this host.
fn holder(
    all: &Containers,
    (blueprint, site): (&Blueprint, &Site),
    address: IpAddr,
) -> (Holder, Option<Netns>) {
    if is_host(blueprint, address) {
        return (Holder::Host, None);
    }
    all.holder(address, &site.interfaces)
}

/// Refuses addresses that have no way of ours between them.
fn check(blueprint: &Blueprint, from: IpAddr, to: IpAddr) -> Result<(), Refusal> {
    let (own, network) = (blueprint.setup.subnet, blueprint.setup.config.network);
    if !own.contains(from) {
        let what = format!("{from} is not in this host's subnet {own}");
        return Err(match peer(blueprint, from) {
            Some(peer) => unknown(what, &format!("run it on the host {}", peer.underlay)),
            None => unknown(what, "the first address is one of a container of this host"),
        });
    }
    if !network.contains(to) {
        let what = format!("{to} is not in the overlay network {network}");
        return Err(unknown(what, "packets to other networks take the host's own way"));
    }
    Ok(())
}

/// There is no address to go on with.
fn stopped(question: &Question, (name, how): (String, String)) -> Trace {
    let holder = Holder::Stopped { name, how };
    let nowhere = IpAddr::from([0, 0, 0, 0]);
    let steps = vec![trace::container(nowhere, &holder, nowhere)];
    let half = Half { host: crate::session::hostname(), steps };
    let end = |asked: &String| End { asked: asked.clone(), address: asked.parse().ok() };
    let rest = Rest { alone: true, ..Rest::default() };
    Trace::new((end(&question.from), end(&question.to)), half, rest)
}

/// Real packets: from the container itself if we may, otherwise from this host.
async fn probes(
    (holder, netns): (&Holder, Option<&Netns>),
    to: IpAddr,
    blueprint: &Blueprint,
) -> Vec<Step> {
    let mut sender = match (holder, netns) {
        (Holder::Container(container), Some(_netns)) => container.name.clone(),
        _other => "this host".to_owned(),
    };
    let mut within = netns;
    let mut echoes = ping::ping_from(within, to, ping::USUAL).await;
    if let Err(Error::EchoWithin { .. }) = echoes {
        (sender, within) = ("this host".to_owned(), None);
        echoes = ping::ping_from(within, to, ping::USUAL).await;
    }
    let echoes = match echoes {
        Ok(echoes) => echoes,
        Err(error) => {
            let hint = error.hint().unwrap_or("run it as root");
            let what = format!("{:#}", anyhow::Error::new(error));
            return vec![Step::unseen(Stage::Answer, what, hint)];
        }
    };
    let answer = trace::answer(to, &sender, echoes);
    if answer.outcome == Outcome::Breaks {
        return vec![answer];
    }
    // What IP and ICMP put in front.
    let headers = if to.is_ipv4() { 28 } else { 48 };
    let bytes = blueprint.mtu.bytes();
    let payload = usize::try_from(bytes.saturating_sub(headers)).unwrap_or_default();
    match ping::ping_from(within, to, payload).await {
        Ok(echoes) => vec![answer, trace::full_size(to, bytes, echoes.answered > 0)],
        Err(_told_above) => vec![answer],
    }
}

fn no_such(word: &str) -> Refusal {
    unknown(
        format!("no container of this host is called {word}"),
        "`twill ps -a` lists them; of a container on another host give the address",
    )
}

fn unknown(what: String, hint: &str) -> Refusal {
    Refusal { kind: Kind::Unknown, what, hint: hint.to_owned() }
}

fn failed(error: Error) -> Refusal {
    let hint = error.hint().unwrap_or("journalctl -u twilld").to_owned();
    Refusal { kind: Kind::Failed, what: format!("{:#}", anyhow::Error::new(error)), hint }
}
