//! Which of this host's networks a question is about.

use std::net::IpAddr;

use twill_core::ids::NetworkName;
use twill_core::trace::Trace;
use twill_net::Kernel;

use super::ends::{Containers, Named};
use super::{Kind, Question, Refusal, Scene, pair, unknown};
use crate::blueprint::{Blueprint, Whole};
use crate::status::Boards;

/// What this host should be like in each of its networks and each family, at least one.
#[derive(Debug)]
pub(crate) struct Maps {
    first: Map,
    more: Vec<Map>,
}

type Map = (Option<NetworkName>, Blueprint);

impl Maps {
    /// `None` without a network.
    pub(crate) fn of(all: Vec<(Option<NetworkName>, Whole)>) -> Option<Self> {
        let halves = |(name, whole): (Option<NetworkName>, Whole)| {
            let blueprints: Vec<Blueprint> = whole.blueprints().collect();
            blueprints.into_iter().map(move |blueprint| (name.clone(), blueprint))
        };
        let mut all = all.into_iter().flat_map(halves);
        Some(Self { first: all.next()?, more: all.collect() })
    }

    /// By the word of the agent that runs.
    pub(super) fn of_now(boards: &Boards) -> Result<Self, Refusal> {
        let (mut maps, mut missing) = (Vec::new(), "this host is in no network".to_owned());
        for (name, board) in boards.all() {
            match board.whole() {
                Ok(whole) => maps.push((name.clone(), whole)),
                Err(why) => missing = why,
            }
        }
        Self::of(maps).ok_or_else(|| {
            let hint = "`twillctl status`, `journalctl -u twilld`".to_owned();
            Refusal { kind: Kind::NotReady, what: missing, hint }
        })
    }

    /// The whole way, with the containers of this host where they usually are.
    pub(crate) async fn trace_by_itself(
        &self,
        kernel: &Kernel,
        port: u16,
        question: &Question,
    ) -> Result<Trace, Refusal> {
        self.trace((kernel, &Containers::default()), port, question).await
    }

    pub(super) async fn trace(
        &self,
        (kernel, containers): (&Kernel, &Containers),
        port: u16,
        question: &Question,
    ) -> Result<Trace, Refusal> {
        let blueprint = match (containers.find(&question.from), containers.find(&question.to)) {
            (Named::Addresses(from), Named::Addresses(to)) => {
                let (from, to) = pair(&from, &to)?;
                self.between(from, to)?
            }
            // What is wrong with the words is so in every network.
            _other => &self.first.1,
        };
        Scene { kernel, blueprint, port }.trace(containers, question).await
    }

    /// The network that an address of this host is in, or at least somebody's.
    pub(super) fn around(&self, address: IpAddr) -> &Blueprint {
        &self.map(address).1
    }

    fn between(&self, from: IpAddr, to: IpAddr) -> Result<&Blueprint, Refusal> {
        let (name, blueprint) = self.map(from);
        let in_network = |(_name, blueprint): &&Map| blueprint.setup.config.network.contains(to);
        let other = self.all().find(in_network);
        if let (Some(name), Some((Some(other), _))) = (name, other)
            && name != other
        {
            return Err(unknown(
                format!("{from} is in network {name} and {to} in network {other}"),
                "no packet passes between two networks; a container that needs both joins both",
            ));
        }
        Ok(blueprint)
    }

    fn map(&self, address: IpAddr) -> &Map {
        let own = self.all().find(|(_name, it)| it.setup.subnet.contains(address));
        let theirs = || self.all().find(|(_name, it)| it.setup.config.network.contains(address));
        own.or_else(theirs).unwrap_or(&self.first)
    }

    fn all(&self) -> impl Iterator<Item = &Map> {
        std::iter::once(&self.first).chain(&self.more)
    }
}
