//! What all networks of this host share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use twill_core::firewall::choose::Wish;
use twill_core::ids::{NetworkName, NodeId};
use twill_net::Kernel;
use twill_net::capabilities::Capabilities;
use twill_net::firewall::Programs;

use crate::blueprint::Whole;
use crate::books::Books;
use crate::failure::Failure;
use crate::firewall::Wall;
use crate::flags::Flags;
use crate::identity::Identity;
use crate::names::Names;
use crate::status::Boards;

/// What stays for as long as the process lives.
#[derive(Debug)]
pub(crate) struct Host {
    identity: Mutex<Identity>,
    /// Whoever goes by another one has to begin again.
    node: watch::Sender<NodeId>,
    pub(crate) capabilities: Capabilities,
    pub(crate) programs: Programs,
    pub(crate) wall: Wall,
    /// Who uses what.
    pub(crate) books: Books,
    /// Who answers containers' questions.
    pub(crate) names: Names,
    /// Seconds since 1970.
    pub(crate) started: u64,
}

impl Host {
    pub(crate) fn new(
        (identity, capabilities): (Identity, Capabilities),
        (programs, wish): (Programs, Wish),
        names: Names,
        boards: &Boards,
    ) -> Self {
        let node = watch::Sender::new(identity.node);
        let (identity, started) = (Mutex::new(identity), crate::status::now());
        let networks = boards.all().into_iter().filter_map(|(name, _board)| name);
        let books = Books::new(networks.collect());
        let wall = Wall::new(&programs, wish, boards.meters());
        Self { identity, node, capabilities, programs, wall, books, names, started }
    }

    /// In several networks: what this one had when the host was up last stays its own until it says what it
    /// needs now, rules of the firewall as well.
    pub(crate) async fn recall_use(&self, name: &NetworkName, flags: &Flags, kernel: &Kernel) {
        if let Ok(whole) = Whole::from_disk(Some(name), flags, kernel).await {
            self.books.had(name, whole.setup.uses());
            self.wall.put(Some(name), whole.own);
        }
    }

    /// Another host is `was` as well. From now on this one is another in all of its networks, unless one of
    /// them has found out before. Returns who.
    pub(crate) fn become_another(&self, was: NodeId) -> Result<NodeId, Failure> {
        let mut identity = self.identity();
        if identity.node == was {
            let node = identity.become_another()?;
            tracing::warn!(%node, "this host has a new node id");
            self.node.send_replace(node);
        }
        Ok(identity.node)
    }

    /// Returns when this host is another than that one.
    pub(crate) async fn is_not(&self, node: NodeId) {
        // It cannot fail: the sender is ours.
        drop(self.node.subscribe().wait_for(|now| *now != node).await);
    }

    /// Which host this is.
    pub(crate) fn identity(&self) -> MutexGuard<'_, Identity> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use twill_net::capabilities::Capabilities;

    use super::*;

    #[tokio::test]
    async fn the_first_network_that_finds_out_decides_who_this_host_is() {
        let root = tempfile::tempdir().unwrap();
        let identity = Identity::open(root.path()).unwrap();
        let was = identity.node;
        let programs = Programs::probe().await.unwrap();
        let boards = Boards::of(&["a", "b"].map(|name| Some(name.parse().unwrap())));
        let (file, socket) = (root.path().join("subnet.env"), root.path().join("agent.sock"));
        let names = Names::new(file, &socket, boards.meters().clone());
        let who = (identity, Capabilities::probe());
        let host = Host::new(who, (programs, Wish::None), names, &boards);
        let node = host.become_another(was).unwrap();
        assert_ne!(node, was);
        host.is_not(was).await;
        assert_eq!(host.become_another(was).unwrap(), node, "not another once more");
        assert_ne!(host.become_another(node).unwrap(), node, "unless that is somebody's too");
    }
}
