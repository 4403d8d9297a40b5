//! The notice boards of all networks of this host.

use std::sync::{Arc, Weak};

use twill_core::ids::NetworkName;
use twill_core::status::{HostStatus, NetworkStatus, SCHEMA};

use super::Board;
use crate::metrics::Meters;

/// One for each network, in their order; and what is counted for all of them together.
#[derive(Clone, Debug)]
pub(crate) struct Boards {
    meters: Meters,
    all: Arc<Vec<Entry>>,
}

/// A board, and whose it is; a host in one network need not name it.
pub(super) type Entry = (Option<NetworkName>, Board);

impl Boards {
    /// Empty ones.
    pub(crate) fn of(networks: &[Option<NetworkName>]) -> Self {
        let named = networks.iter().any(Option::is_some);
        let meters = if named { Meters::of_the_host() } else { Meters::default() };
        let board = |name: &Option<NetworkName>, beside: &Weak<Vec<Entry>>| {
            let meters = name.as_ref().map_or_else(|| meters.clone(), |it| meters.of_network(it));
            (name.clone(), Board { meters, beside: beside.clone(), ..Board::default() })
        };
        let all =
            Arc::new_cyclic(|beside| networks.iter().map(|name| board(name, beside)).collect());
        Self { meters, all }
    }

    /// What is the host's, and not one network's.
    pub(crate) fn meters(&self) -> &Meters {
        &self.meters
    }

    /// Each with its name.
    pub(crate) fn all(&self) -> &[Entry] {
        &self.all
    }

    /// That one alone, as if the host were in no other; `None` if it is not in that one.
    pub(crate) fn only(&self, network: &NetworkName) -> Option<Self> {
        let mut all = self.all.iter();
        let (_name, board) = all.find(|(name, _board)| name.as_ref() == Some(network))?;
        let board = Board { beside: Weak::new(), ..board.clone() };
        Some(Self { meters: board.meters.clone(), all: Arc::new(vec![(None, board)]) })
    }

    /// The board of a host in one network that has no name.
    pub(crate) fn unnamed(&self) -> Option<&Board> {
        self.all.iter().find(|(name, _board)| name.is_none()).map(|(_no_name, board)| board)
    }

    /// What all of them say, each word behind the name of its network.
    pub(crate) fn words<W: IntoIterator<Item = String>>(
        &self,
        of: impl Fn(&Board) -> W,
    ) -> Vec<String> {
        let words = self.all.iter().flat_map(|(name, board)| {
            of(board).into_iter().map(move |word| behind(name.as_ref(), word))
        });
        words.collect()
    }

    /// The document of a host in several networks.
    pub(crate) fn status(&self) -> HostStatus {
        let network = |(name, board): &Entry| {
            let (name, unready) = (name.clone()?, board.unready());
            let status = board.status().ok();
            Some(NetworkStatus { name, ready: unready.is_empty(), unready, status })
        };
        HostStatus { schema: SCHEMA, networks: self.all.iter().filter_map(network).collect() }
    }

    #[cfg(test)]
    pub(crate) fn alone(board: Board) -> Self {
        Self { meters: board.meters().clone(), all: Arc::new(vec![(None, board)]) }
    }
}

impl Board {
    /// The state of the host in one line, for systemd: of all its networks.
    pub(crate) fn headline(&self) -> String {
        let beside = self.beside.upgrade();
        let Some(all) = beside.filter(is_named) else { return self.line() };
        let lines = all.iter().map(|(name, board)| {
            let waiting = board.notices().waiting.clone();
            let line = waiting.map_or_else(|| board.line(), |why| format!("waiting: {why}"));
            behind(name.as_ref(), line)
        });
        lines.collect::<Vec<_>>().join("; ")
    }

    /// Can others rely on this host? With several networks no one of them holds up the others: each is
    /// there or it is known what it waits for, and one is there.
    pub(crate) fn is_up(&self) -> bool {
        let there = |board: &Self| board.notices().published;
        let settled = |board: &Self| there(board) || board.notices().waiting.is_some();
        let Some(all) = self.beside.upgrade() else { return there(self) };
        all.iter().all(|(_name, board)| settled(board)) && all.iter().any(|(_, board)| there(board))
    }
}

fn is_named(all: &Arc<Vec<Entry>>) -> bool {
    all.iter().any(|(name, _board)| name.is_some())
}

fn behind(name: Option<&NetworkName>, word: String) -> String {
    match name {
        Some(name) => format!("network {name}: {word}"),
        None => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_network_holds_up_the_others() {
        let boards = Boards::of(&["a", "b"].map(|name| Some(name.parse().unwrap())));
        let [(_, a), (_, b)] = boards.all() else { panic!("two of them") };
        assert!(!a.is_up());
        crate::status::join(a);
        assert!(!a.is_up(), "nobody knows of b");
        b.waiting("no configuration");
        assert!(a.is_up() && b.is_up());
        assert_eq!(
            b.headline(),
            "network a: subnet 10.88.1.0/24 of 10.88.0.0/16, flannel0; network b: waiting: no \
             configuration"
        );
        assert_eq!(boards.words(Board::unready), ["network b: no configuration"]);
        let status = boards.status();
        let told = |of: &NetworkStatus| (of.ready, of.status.is_some());
        assert_eq!(
            status.networks.iter().map(told).collect::<Vec<_>>(),
            [(true, true), (false, false)]
        );
        let only = boards.only(&"b".parse().unwrap()).unwrap();
        assert_eq!(only.words(Board::unready), ["no configuration"]);
        assert!(boards.only(&"c".parse().unwrap()).is_none() && boards.unnamed().is_none());
    }

    #[test]
    fn a_host_in_one_network_is_up_when_that_is_there() {
        let boards = Boards::of(&[None]);
        let board = boards.unnamed().unwrap();
        board.waiting("no configuration");
        assert!(!board.is_up());
        assert_eq!(board.headline(), "starting");
        crate::status::join(board);
        assert!(board.is_up());
        assert_eq!(board.headline(), "subnet 10.88.1.0/24 of 10.88.0.0/16, flannel0");
    }
}
