//! The notice boards of all networks of this host.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use twill_core::ids::NetworkName;
use twill_core::status::{HostStatus, NetworkStatus, SCHEMA};

use super::Board;
use super::following::Following;
use crate::metrics::Meters;

/// One for each network, in their order; and what is counted for all of them together. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Boards {
    meters: Meters,
    shared: Arc<Shared>,
}

/// A board, and whose it is; a host in one network need not name it.
pub(super) type Entry = (Option<NetworkName>, Board);

/// What each board knows of the others.
#[derive(Debug, Default)]
pub(super) struct Shared {
    all: Mutex<Vec<Entry>>,
    /// Of a host whose networks come and go.
    following: Mutex<Option<Following>>,
}

impl Boards {
    /// Empty ones.
    pub(crate) fn of(networks: &[Option<NetworkName>]) -> Self {
        let named = networks.iter().any(Option::is_some);
        let meters = if named { Meters::of_the_host() } else { Meters::default() };
        let boards = Self { meters, shared: Arc::default() };
        for name in networks {
            boards.add(name.as_ref());
        }
        boards
    }

    /// None yet: of a host that follows the networks under a prefix.
    pub(crate) fn following(prefix: &str) -> Self {
        let boards = Self { meters: Meters::of_the_host(), shared: Arc::default() };
        *boards.shared.following() = Some(Following::new(prefix));
        boards
    }

    /// An empty one for a network that comes.
    pub(crate) fn add(&self, name: Option<&NetworkName>) -> Board {
        let meters = name.map_or_else(|| self.meters.clone(), |name| self.meters.of_network(name));
        let board = Board { meters, beside: Arc::downgrade(&self.shared), ..Board::default() };
        self.shared.all().push((name.cloned(), board.clone()));
        board
    }

    /// A network that goes, and all that was counted of it.
    pub(crate) fn remove(&self, name: &NetworkName) {
        self.shared.all().retain(|(known, _board)| known.as_ref() != Some(name));
        self.meters.forget(name);
    }

    /// What is the host's, and not one network's.
    pub(crate) fn meters(&self) -> &Meters {
        &self.meters
    }

    /// Each with its name.
    pub(crate) fn all(&self) -> Vec<Entry> {
        self.shared.all().clone()
    }

    /// That one alone, as if the host were in no other; `None` if it is not in that one.
    pub(crate) fn only(&self, network: &NetworkName) -> Option<Self> {
        let all = self.all();
        let (_name, board) = all.iter().find(|(name, _board)| name.as_ref() == Some(network))?;
        let board = Board { beside: Weak::new(), ..board.clone() };
        Some(Self::with(board))
    }

    /// The board of a host in one network that has no name.
    pub(crate) fn unnamed(&self) -> Option<Board> {
        let mut all = self.all().into_iter();
        all.find(|(name, _board)| name.is_none()).map(|(_no_name, board)| board)
    }

    /// Changes what is known of the networks that come and go.
    pub(crate) fn follows(&self, change: impl FnOnce(&mut Following)) {
        if let Some(following) = &mut *self.shared.following() {
            change(following);
        }
    }

    /// The same as it is, of a host that follows them.
    pub(crate) fn followed(&self) -> Option<Following> {
        self.shared.following().clone()
    }

    /// Why this host is not ready for containers; empty when it is.
    pub(crate) fn unready(&self) -> Vec<String> {
        let following = self.followed().and_then(|following| following.unready());
        following.into_iter().chain(self.words(Board::unready)).collect()
    }

    /// Why this host is worse off than it should be though it may be ready.
    pub(crate) fn degraded(&self) -> Vec<String> {
        let following = self.followed().map(|following| following.degraded()).unwrap_or_default();
        following.into_iter().chain(self.words(Board::degraded)).collect()
    }

    /// What all of them say, each word behind the name of its network.
    pub(crate) fn words<W: IntoIterator<Item = String>>(
        &self,
        of: impl Fn(&Board) -> W,
    ) -> Vec<String> {
        let all = self.all();
        let words = all.iter().flat_map(|(name, board)| {
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
        let networks = self.all().iter().filter_map(network).collect();
        let watch = self.followed().map(|following| following.status());
        HostStatus { schema: SCHEMA, networks, watch }
    }

    /// The state of the host in one line, for systemd.
    pub(crate) fn headline(&self) -> String {
        self.shared.headline()
    }

    /// Can others rely on this host?
    pub(crate) fn is_up(&self) -> bool {
        self.shared.is_up()
    }

    fn with(board: Board) -> Self {
        let shared = Shared { all: Mutex::new(vec![(None, board.clone())]), ..Shared::default() };
        Self { meters: board.meters, shared: Arc::new(shared) }
    }

    #[cfg(test)]
    pub(crate) fn alone(board: Board) -> Self {
        Self::with(board)
    }
}

impl Board {
    /// The state of the host in one line, for systemd: of all its networks.
    pub(crate) fn headline(&self) -> String {
        let beside = self.beside.upgrade();
        beside.map_or_else(|| self.line(), |shared| shared.headline())
    }

    /// Can others rely on this host? With several networks no one of them holds up the others: each is
    /// there or it is known what it waits for, and one is there.
    pub(crate) fn is_up(&self) -> bool {
        self.beside.upgrade().map_or_else(|| self.is_there(), |shared| shared.is_up())
    }

    fn is_there(&self) -> bool {
        self.notices().published
    }

    fn is_settled(&self) -> bool {
        let notices = self.notices();
        notices.published || notices.waiting.is_some()
    }
}

impl Shared {
    // Each change is one step: a writer that died left nothing half done.
    fn all(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn following(&self) -> MutexGuard<'_, Option<Following>> {
        self.following.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn headline(&self) -> String {
        let all = self.all().clone();
        let lines = all.iter().map(|(name, board)| {
            if name.is_none() {
                return board.line();
            }
            let waiting = board.notices().waiting.clone();
            let line = waiting.map_or_else(|| board.line(), |why| format!("waiting: {why}"));
            behind(name.as_ref(), line)
        });
        let following = self.following().as_ref().and_then(|it| it.headline(all.is_empty()));
        following.into_iter().chain(lines).collect::<Vec<_>>().join("; ")
    }

    fn is_up(&self) -> bool {
        let all = self.all().clone();
        let following = self.following().as_ref().map(Following::unready);
        // A host whose networks come and go may be in none, and nobody has to wait for one.
        let any = match following {
            Some(Some(_unknown)) => return false,
            Some(None) if all.is_empty() => true,
            _others => all.iter().any(|(_name, board)| board.is_there()),
        };
        any && all.iter().all(|(_name, board)| board.is_settled())
    }
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
        let all = boards.all();
        let [(_, a), (_, b)] = &all[..] else { panic!("two of them") };
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
        crate::status::join(&board);
        assert!(board.is_up());
        assert_eq!(board.headline(), "subnet 10.88.1.0/24 of 10.88.0.0/16, flannel0");
    }

    #[test]
    fn networks_that_come_and_go() {
        let boards = Boards::following("/p");
        let unknown = ["the networks under /p are not known yet"];
        assert_eq!(
            (boards.unready(), boards.is_up()),
            (unknown.map(str::to_owned).to_vec(), false)
        );
        boards.follows(|following| following.away("no answer".to_owned()));
        assert_eq!(boards.unready(), ["the networks under /p are not known yet: no answer"]);
        assert_eq!(
            boards.headline(),
            "waiting: the networks under /p are not known yet: no answer"
        );
        boards.follows(|following| following.listed(Vec::new()));
        assert!(boards.is_up() && boards.unready().is_empty(), "it is in none, and knows that");
        assert_eq!(boards.headline(), "no network under /p");
        let name: NetworkName = "blue".parse().unwrap();
        let board = boards.add(Some(&name));
        assert!(!boards.is_up(), "nobody knows of blue");
        crate::status::join(&board);
        assert!(boards.is_up() && board.is_up());
        assert_eq!(board.headline(), "network blue: subnet 10.88.1.0/24 of 10.88.0.0/16, flannel0");
        boards.follows(|following| following.listed(vec!["`a b` is no name".to_owned()]));
        boards.follows(|following| following.away("no answer".to_owned()));
        assert_eq!(
            boards.degraded(),
            [
                "networks under /p that come or go are not noticed: no answer",
                "a network is left out: `a b` is no name",
            ]
        );
        assert!(boards.unready().is_empty(), "and it goes on as it is");
        let watch = boards.status().watch.unwrap();
        assert_eq!(watch.refused, ["`a b` is no name"]);
        boards.remove(&name);
        assert!(boards.all().is_empty() && boards.only(&name).is_none());
    }
}
