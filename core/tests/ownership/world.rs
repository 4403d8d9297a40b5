//! What the model knows of the world at one moment: etcd, the machines, and what is under way.
//!
//! Small enough to be copied, hashed and compared millions of times.

/// How many machines there may be.
pub(crate) const MACHINES: usize = 3;
/// How many keys under `subnets/` there may be.
pub(crate) const SLOTS: usize = 4;
/// How many node ids may be in use at once.
pub(crate) const NODES: usize = 8;
/// How many etcd leases may be in use at once.
pub(crate) const LEASES: usize = 12;
/// The address of an owner that an administrator did not name.
pub(crate) const NOWHERE: u8 = u8::MAX;

/// An etcd lease lives for so many ticks.
pub(crate) const TTL: u8 = 2;
/// A host stops believing in its lease so many ticks early.
pub(crate) const MARGIN: u8 = 1;

/// Everything, at one moment.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct World {
    pub(crate) etcd: Etcd,
    pub(crate) machines: [Machine; MACHINES],
    /// So many misfortunes may still befall it.
    pub(crate) left: u8,
    /// The first thing that never should have happened.
    pub(crate) sin: Option<Sin>,
}

/// What etcd holds.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Etcd {
    /// Which of the scenario's configurations is written, and when.
    pub(crate) config: u8,
    pub(crate) config_revision: u8,
    /// The keys under `subnets/`.
    pub(crate) rows: [Option<Row>; SLOTS],
    /// How many ticks each etcd lease has left; at none, it may end.
    pub(crate) leases: [Option<u8>; LEASES],
    /// The keys under `twill/doubles/`, by node id.
    pub(crate) questions: [Option<Question>; NODES],
}

/// A key under `subnets/`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Row {
    pub(crate) node: Option<u8>,
    pub(crate) address: u8,
    pub(crate) revision: u8,
    /// None for a reservation.
    pub(crate) lease: Option<u8>,
    /// Which machine wrote it, whoever it says it is; none for the administrator.
    pub(crate) by: Option<u8>,
}

/// A key under `twill/doubles/`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Question {
    pub(crate) asker: u8,
    pub(crate) answer: Option<u8>,
}

/// A machine with its state directory and its agent.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Machine {
    pub(crate) power: Power,
    pub(crate) address: u8,
    // On disk.
    pub(crate) node: u8,
    pub(crate) anchored: bool,
    pub(crate) held: Option<Held>,
    pub(crate) addresses: u8,
    // In the agent's memory.
    pub(crate) holding: bool,
    pub(crate) previous: Option<u8>,
    pub(crate) doubt: Doubt,
    /// It waits for an answer; about the lease written then.
    pub(crate) asked: Option<u8>,
    /// What it has decided to write, or has sent.
    pub(crate) intent: Option<Write>,
    /// Revisions of other leases of its own, to be revoked; zero for none.
    pub(crate) errands: [u8; SLOTS],
    /// A request that it gave up waiting for, and that still may arrive.
    pub(crate) stray: Option<Write>,
    // In its kernel.
    /// The subnet that its containers use, and for how long it believes that this is right.
    pub(crate) uses: Option<u8>,
    pub(crate) belief: Term,
    /// An administrator took the subnet from it, and it cannot know yet.
    pub(crate) excused: bool,
}

/// Is the machine there?
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Power {
    /// It takes no part, and never will.
    Absent,
    /// Its disk will be a copy of another's.
    Blank,
    /// Its agent does not run. Its kernel forwards as before.
    Off,
    On,
}

/// A lease as a host wrote or adopted it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Held {
    pub(crate) slot: u8,
    pub(crate) row: Row,
}

#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Doubt {
    Unasked,
    Silent(u8),
    Answered(u8),
}

/// A time that a host measures with its own clock.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Term {
    pub(crate) left: u8,
    /// The clock has lost as much as it may lose in one term.
    pub(crate) late: bool,
}

/// A transaction on its way.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Write {
    Claim(Claim),
    /// A deletion, of what was written at that revision.
    Withdraw {
        slot: u8,
        revision: u8,
    },
}

#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Claim {
    pub(crate) slot: u8,
    pub(crate) over: Over,
    pub(crate) node: u8,
    pub(crate) address: u8,
    pub(crate) lease: Option<u8>,
    /// How long the host may believe in the lease if the claim is won.
    pub(crate) hope: Term,
    pub(crate) withdraw: [u8; SLOTS],
}

/// What a claim compares.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Over {
    /// Nothing is there, and the configuration was written then.
    Nothing(u8),
    /// What is there was written then.
    Row(u8),
    /// Nothing is there. The configuration is not compared.
    NothingAtAll,
    /// Nothing is compared.
    Anything,
}

/// What never must happen.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Sin {
    /// A host replaced or deleted what another machine had written.
    Theft,
    /// A host gave a reservation an end, or deleted it.
    ReservationEnded,
    /// A host gave a subnet up that was its own.
    GivenUp,
    /// A host that was copied became another, and not the copy.
    OriginalYielded,
}

// === impl Term ===

impl Term {
    pub(crate) const OVER: Self = Self { left: 0, late: false };

    pub(crate) fn of(ticks: u8) -> Self {
        Self { left: ticks, late: false }
    }

    /// A tick passes, which the host's clock counts or, once in a term, misses.
    pub(crate) fn pass(&mut self, missed: bool) {
        if self.left == 0 {
        } else if missed && !self.late {
            self.late = true;
        } else {
            self.left -= 1;
            self.late &= self.left > 0;
        }
    }

    pub(crate) fn may_miss(self) -> bool {
        self.left > 0 && !self.late
    }
}

// === impl Machine ===

impl Machine {
    pub(crate) const ABSENT: Self = Self {
        power: Power::Absent,
        address: 0,
        node: 0,
        anchored: true,
        held: None,
        addresses: 0,
        holding: false,
        previous: None,
        doubt: Doubt::Unasked,
        asked: None,
        intent: None,
        errands: [0; SLOTS],
        stray: None,
        uses: None,
        belief: Term::OVER,
        excused: false,
    };

    pub(crate) fn is_on(&self) -> bool {
        self.power == Power::On
    }

    /// What the host holds by its own knowledge.
    pub(crate) fn standing(&self) -> Option<Held> {
        self.held.filter(|_| self.holding)
    }

    /// Has it, or had it, that address?
    pub(crate) fn was_at(&self, address: u8) -> bool {
        address == self.address || address != NOWHERE && self.addresses >> address & 1 == 1
    }

    /// The subnet that it uses and believes to be its own.
    pub(crate) fn valid(&self) -> Option<u8> {
        self.uses.filter(|_| self.belief.left > 0)
    }

    /// It stops using its subnet and has none.
    pub(crate) fn let_go(&mut self) {
        self.held = None;
        self.holding = false;
        self.previous = None;
        self.addresses = 0;
        self.uses = None;
        self.belief = Term::OVER;
        self.excused = false;
    }

    /// What an agent forgets when it ends.
    pub(crate) fn forget(&mut self) {
        self.holding = false;
        self.previous = None;
        self.doubt = Doubt::Unasked;
        self.asked = None;
        self.errands = [0; SLOTS];
    }

    /// The terms that begin when a claim is won.
    pub(crate) fn hopes(&mut self) -> impl Iterator<Item = &mut Term> {
        self.writes().filter_map(|write| match write {
            Write::Claim(claim) => Some(&mut claim.hope),
            Write::Withdraw { .. } => None,
        })
    }

    pub(crate) fn writes(&mut self) -> impl Iterator<Item = &mut Write> {
        self.intent.iter_mut().chain(self.stray.iter_mut())
    }
}
