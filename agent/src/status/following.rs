//! What a host knows that follows all networks under a prefix.

use twill_core::status::{EtcdState, Watched};

/// How it stands with the list of networks.
#[derive(Clone, Debug)]
pub(crate) struct Following {
    prefix: String,
    /// Is it known which networks those are, from etcd or from this host's own disk?
    known: bool,
    etcd: Etcd,
    /// Names that are none, in words.
    refused: Vec<String>,
}

/// Does etcd tell of networks that come and go?
#[derive(Clone, Debug, Eq, PartialEq)]
enum Etcd {
    NotAsked,
    /// No, and why not.
    Away(String),
    Tells,
}

impl Following {
    pub(super) fn new(prefix: &str) -> Self {
        let prefix = prefix.to_owned();
        Self { prefix, known: false, etcd: Etcd::NotAsked, refused: Vec::new() }
    }

    /// etcd has told them all, with names that are none.
    pub(crate) fn listed(&mut self, refused: Vec<String>) {
        (self.known, self.etcd, self.refused) = (true, Etcd::Tells, refused);
    }

    /// The host goes by what it had.
    pub(crate) fn remembers(&mut self) {
        self.known = true;
    }

    /// etcd does not tell of what comes and goes.
    pub(crate) fn away(&mut self, error: String) {
        self.etcd = Etcd::Away(error);
    }

    /// Does the watch stand?
    pub(crate) fn is_connected(&self) -> bool {
        self.etcd == Etcd::Tells
    }

    /// How many names are none.
    pub(crate) fn refused(&self) -> usize {
        self.refused.len()
    }

    /// Why nobody can say whether this host is ready, if so.
    pub(crate) fn unready(&self) -> Option<String> {
        let text = format!("the networks under {} are not known yet", self.prefix);
        match &self.etcd {
            _any if self.known => None,
            Etcd::Away(error) => Some(format!("{text}: {error}")),
            Etcd::NotAsked | Etcd::Tells => Some(text),
        }
    }

    /// Why it is worse off than it should be.
    pub(crate) fn degraded(&self) -> Vec<String> {
        let blind = |error: &String| {
            format!("networks under {} that come or go are not noticed: {error}", self.prefix)
        };
        let away = self.error().filter(|_error| self.known).map(blind).into_iter();
        let refused = self.refused.iter().map(|why| format!("a network is left out: {why}"));
        away.chain(refused).collect()
    }

    /// In one line, if it says more than its networks do.
    pub(super) fn headline(&self, alone: bool) -> Option<String> {
        let unready = self.unready().map(|why| format!("waiting: {why}"));
        unready.or_else(|| alone.then(|| format!("no network under {}", self.prefix)))
    }

    /// For people.
    pub(super) fn status(&self) -> Watched {
        let etcd = if self.is_connected() { EtcdState::Connected } else { EtcdState::Away };
        let error = self.error().cloned();
        let (prefix, refused) = (self.prefix.clone(), self.refused.clone());
        Watched { prefix, etcd, error, refused, unready: self.unready() }
    }

    fn error(&self) -> Option<&String> {
        if let Etcd::Away(error) = &self.etcd { Some(error) } else { None }
    }
}
