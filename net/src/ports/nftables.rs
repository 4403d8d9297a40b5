//! Our table of nftables, by netlink: no program has to be started for it, which would take longer than all
//! the rest of joining a container, and could outlive a caller that is killed.

mod batch;
mod rule;

use std::io::{self, ErrorKind};

use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use twill_core::firewall::ports::{Publication, TABLE};
use twill_core::ids::Family;

use self::batch::{INET, Plan, Purpose, batch, text};
use crate::Error;
use crate::netfilter::{self, REQUEST, attributes, nftables, open, question, split, with_length};

const ASK_TABLE: u16 = nftables(1);
const TABLE_ROW: u16 = nftables(0);
const ASK_CHAINS: u16 = nftables(4);
const CHAIN: u16 = nftables(3);
const ASK_RULES: u16 = nftables(7);
const RULE: u16 = nftables(6);
/// `NLM_F_DUMP` and `NLM_F_DUMP_INTR`.
const DUMP: u16 = 0x300;
const INTERRUPTED: u16 = 0x10;
/// `NLMSG_ERROR`, `NLMSG_DONE`.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// How often a table is read again that changes while it is read, or written that somebody else changed meanwhile.
const ATTEMPTS: usize = 8;

/// One of what the kernel lists: its kind, and what follows its headers.
#[derive(Debug)]
struct Row {
    kind: u16,
    about: Vec<u8>,
}

impl Row {
    fn value(&self, wanted: u16) -> Option<&[u8]> {
        attributes(&self.about).find(|(kind, _value)| *kind == wanted).map(|(_kind, value)| value)
    }

    /// Has it that text there?
    fn names(&self, wanted: u16, name: &str) -> bool {
        self.value(wanted).and_then(|text| text.strip_suffix(b"\0")) == Some(name.as_bytes())
    }
}

/// How the kernel shows our table, in a few letters; empty if there is none.
pub(super) type Seen = String;

/// Is our table there, whatever is in it?
pub(super) fn is_table_there() -> bool {
    let ask = || -> io::Result<bool> {
        let mut asked = question(ASK_TABLE, REQUEST, INET);
        text(&mut asked, 1, TABLE);
        let socket = Socket::new(NETLINK_NETFILTER)?;
        socket.send(&with_length(asked), 0)?;
        let (answer, _kernel) = socket.recv_from_full()?;
        Ok(matches!(open(&answer), Some((TABLE_ROW, _about))))
    };
    ask().unwrap_or(false)
}

/// A conversation about the rules of one namespace.
///
/// One socket for all of it, and it stays open as long as there is something else to do: to close one that speaks to
/// netfilter waits until what was taken away by anybody is gone, some milliseconds (`nft_rcv_nl_event`).
#[derive(Debug)]
pub(super) struct Line {
    socket: Socket,
}

impl Line {
    /// `None` if this kernel has no nftables.
    pub(super) fn open() -> Option<Self> {
        let line = Self { socket: Socket::new(NETLINK_NETFILTER).ok()? };
        line.generation().is_ok().then_some(line)
    }

    /// The number of the last transaction.
    pub(super) fn generation(&self) -> io::Result<u32> {
        netfilter::generation_by(&self.socket)
    }

    /// Would the kernel take these? One may lack a part (`CONFIG_NFT_NAT`, `CONFIG_NFT_FIB_INET`).
    pub(super) fn could(&self, publications: &[Publication]) -> bool {
        self.send(&batch(Plan::Whole(publications), Purpose::Try)).is_ok()
    }

    /// Brings the table about in one transaction; `had` are the publications that it is for already, if it is known to be.
    /// Answers what the kernel shows afterwards, and the number of the transaction.
    pub(super) fn write(
        &self,
        wanted: &[Publication],
        (seen, had): (&Seen, Option<&[Publication]>),
    ) -> Result<(Seen, u32), Error> {
        let failed = |source| Error::WriteRules { source };
        let new = had.and_then(|had| additions(had, wanted));
        let mut plan = match (&new, had) {
            (Some(new), Some(had)) => Plan::More(had, new),
            _unknown if seen.is_empty() && !wanted.is_empty() => Plan::First(wanted),
            _unknown => Plan::Whole(wanted),
        };
        let mut shown = (Seen::new(), 0);
        for _attempt in 0..ATTEMPTS {
            let before = self.generation().map_err(failed)?;
            self.send(&batch(plan, Purpose::Commit)).map_err(failed)?;
            shown = (self.seen()?, before.wrapping_add(1));
            // Nobody else can have changed what was seen.
            if self.generation().map_err(failed)? == shown.1 {
                break;
            }
            plan = Plan::Whole(wanted);
        }
        Ok(shown)
    }

    /// Reads the table.
    pub(super) fn seen(&self) -> Result<Seen, Error> {
        let failed = |source| Error::WriteRules { source };
        let chains = self.rows(&question(ASK_CHAINS, REQUEST | DUMP, INET)).map_err(failed)?;
        let mut rules = question(ASK_RULES, REQUEST | DUMP, INET);
        text(&mut rules, 1, TABLE);
        let rules = self.rows(&with_length(rules)).map_err(failed)?;
        // Of a chain its name, hook, policy and type; of a rule its chain and what it does. Numbers that the kernel
        // gives are left out.
        let of = |rows: &[Row], kind: u16, wanted: &[u16]| -> Vec<u8> {
            let mut all = Vec::new();
            for row in rows.iter().filter(|row| row.kind == kind && row.names(1, TABLE)) {
                let parts = attributes(&row.about).filter(|(kind, _value)| wanted.contains(kind));
                for (kind, value) in parts {
                    all.extend(kind.to_be_bytes());
                    all.extend(value);
                }
            }
            all
        };
        let all = [of(&chains, CHAIN, &[3, 4, 5, 7]), of(&rules, RULE, &[2, 4])].concat();
        Ok(if all.is_empty() { Seen::new() } else { format!("{:016x}", fnv1a(&all)) })
    }

    /// Is there nothing in iptables' tables of the kernel's nftables that could stop a packet on its way through the
    /// host?
    pub(super) fn lets_pass(&self, families: &[Family]) -> io::Result<bool> {
        for family in families {
            let number = match family {
                Family::V4 => 2,
                Family::V6 => 10,
            };
            let chains = self.rows(&question(ASK_CHAINS, REQUEST | DUMP, number))?;
            let is_forward = |row: &&Row| row.names(1, "filter") && row.names(3, "FORWARD");
            let Some(row) = chains.iter().find(is_forward) else { continue };
            let accepts = row.value(5).is_some_and(|policy| policy == 1_u32.to_be_bytes());
            let mut rules = question(ASK_RULES, REQUEST | DUMP, number);
            text(&mut rules, 1, "filter");
            text(&mut rules, 2, "FORWARD");
            if !accepts || !self.rows(&with_length(rules))?.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The kernel works through a batch before it returns, and has said by then what it had to say.
    fn send(&self, batch: &[u8]) -> io::Result<()> {
        if batch.len() > 1 << 16 {
            // The kernel takes a batch in one piece; twice, for its own book-keeping.
            let room = batch.len() * 2;
            setsockopt(&self.socket, sockopt::SndBufForce, &room).map_err(io::Error::from)?;
        }
        self.socket.send(batch, 0)?;
        let mut answered = false;
        let mut complaint = None;
        let mut buffer = Vec::with_capacity(1 << 16);
        loop {
            buffer.clear();
            match self.socket.recv(&mut buffer, libc::MSG_DONTWAIT) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock && answered => {
                    return complaint.map_or(Ok(()), Err);
                }
                // Answers were lost; those that are left are nobody's afterwards.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    complaint = complaint.or(Some(error));
                    answered = true;
                    continue;
                }
                received => drop(received?),
            }
            let mut rest = buffer.as_slice();
            while let Some((message, behind)) = split(rest) {
                if let Some((ERROR, _about)) = open(message) {
                    complaint = complaint.or(netfilter::outcome(message).err());
                    answered = true;
                }
                rest = behind;
            }
        }
    }

    /// Everything that the kernel lists.
    fn rows(&self, asked: &[u8]) -> io::Result<Vec<Row>> {
        for _attempt in 0..ATTEMPTS {
            if let Some(rows) = self.listed(asked)? {
                return Ok(rows);
            }
        }
        Err(io::Error::new(ErrorKind::Interrupted, "the rules change faster than they are read"))
    }

    /// `None` if something changed meanwhile.
    fn listed(&self, asked: &[u8]) -> io::Result<Option<Vec<Row>>> {
        self.socket.send(asked, 0)?;
        let (mut rows, mut consistent) = (Vec::new(), true);
        let mut buffer = Vec::with_capacity(1 << 16);
        loop {
            buffer.clear();
            match self.socket.recv(&mut buffer, 0) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                received => drop(received?),
            }
            let mut rest = buffer.as_slice();
            while !rest.is_empty() {
                let (message, behind) = split(rest).ok_or(ErrorKind::InvalidData)?;
                let (kind, about) = open(message).ok_or(ErrorKind::InvalidData)?;
                let flags = message.get(6..8).and_then(|flags| flags.try_into().ok());
                consistent &= flags.map_or(0, u16::from_ne_bytes) & INTERRUPTED == 0;
                match kind {
                    DONE => return Ok(consistent.then_some(rows)),
                    // No such table is an empty one.
                    ERROR => match netfilter::outcome(message) {
                        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Some(rows)),
                        outcome => outcome?,
                    },
                    kind => rows.push(Row { kind, about: about.to_vec() }),
                }
                rest = behind;
            }
        }
    }
}

/// What is new, if nothing is gone.
fn additions(had: &[Publication], wanted: &[Publication]) -> Option<Vec<Publication>> {
    let all = had.iter().all(|it| wanted.contains(it));
    let new: Vec<Publication> = wanted.iter().filter(|it| !had.contains(it)).cloned().collect();
    (all && !had.is_empty() && !new.is_empty()).then_some(new)
}

/// FNV-1a (RFC 9923): the same in every release.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use twill_core::firewall::ports::{Protocol, table};

    use super::*;
    use crate::netns::Scratch;
    use crate::ports::program::run;

    fn publication(
        protocol: Protocol,
        (at, port): (&str, u16),
        (to, subnet): (&str, &str),
    ) -> Publication {
        Publication {
            protocol,
            at: at.parse().ok(),
            port,
            to: to.parse().unwrap(),
            bridge: "twill0".to_owned(),
            subnet: subnet.parse().unwrap(),
        }
    }

    /// As if nothing was known of the table.
    fn write(line: &Line, wanted: &[Publication]) -> Seen {
        line.write(wanted, (&line.seen().unwrap(), None)).unwrap().0
    }

    fn printed() -> Vec<String> {
        let printed = run("nft", &["-sn", "list", "table", "inet", TABLE], "").unwrap();
        words(&printed)
    }

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn all() -> [Publication; 5] {
        [
            publication(Protocol::Tcp, ("192.0.2.1", 8080), ("10.5.1.3:80", "10.5.1.0/24")),
            publication(Protocol::Udp, ("fd00::1", 53), ("[fd00:5:1::2]:5353", "fd00:5:1::/64")),
            publication(Protocol::Tcp, ("", 8080), ("10.5.1.2:80", "10.5.1.0/24")),
            publication(Protocol::Sctp, ("", 65535), ("10.5.2.66:1", "10.5.2.64/26")),
            publication(Protocol::Tcp, ("", 8080), ("[fd00:5:1::2]:80", "fd00:5:1:10::/60")),
        ]
    }

    /// `nft` reads what we have written, and prints the words that it would have been written with.
    #[test]
    fn the_kernel_has_what_the_words_say() {
        let Some(_scratch) = Scratch::enter() else { return };
        let (line, all) = (Line::open().unwrap(), all());
        assert_eq!(line.seen().unwrap(), "");
        assert!(line.could(&all));
        assert_eq!(line.seen().unwrap(), "", "it was asked alone");
        for some in [&all[..], &all[2..3], &all[4..]] {
            let left = write(&line, some);
            assert_eq!(printed(), words(&table(some)));
            assert_eq!(line.seen().unwrap(), left);
            assert_eq!(write(&line, some), left, "it is seen the same however often it is written");
            run("nft", &["add", "rule", "inet", TABLE, "arriving", "drop"], "").unwrap();
            assert_ne!(line.seen().unwrap(), left);
        }
        assert_eq!(write(&line, &[]), "");
        assert_eq!(write(&line, &[]), "", "what is not there is no obstacle");
        assert!(!is_table_there());
    }

    /// Rules for one address before those for all, whichever came first.
    #[test]
    fn more_rules_are_put_where_they_belong() {
        let Some(_scratch) = Scratch::enter() else { return };
        let (line, all) = (Line::open().unwrap(), all());
        let left = write(&line, &all[2..3]);
        let (left, generation) = line.write(&all[1..], (&left, Some(&all[2..3]))).unwrap();
        assert_eq!(generation, line.generation().unwrap());
        assert_eq!(printed(), words(&table(&all[1..])), "new ones behind old ones, and before");
        let (left, _generation) = line.write(&all, (&left, Some(&all[1..]))).unwrap();
        assert_eq!(printed(), words(&table(&all)));
        assert_eq!(line.seen().unwrap(), left);
        let (_left, _generation) = line.write(&all[..3], (&left, Some(&all))).unwrap();
        assert_eq!(printed(), words(&table(&all[..3])), "and less");
    }

    #[test]
    fn a_thousand_ports_are_one_transaction() {
        let Some(_scratch) = Scratch::enter() else { return };
        let line = Line::open().unwrap();
        let of = |port| publication(Protocol::Tcp, ("", port), ("10.5.1.2:80", "10.5.1.0/24"));
        let all: Vec<Publication> = (1..=1000).map(of).collect();
        let left = write(&line, &all);
        assert_eq!(line.seen().unwrap(), left);
        assert_ne!(write(&line, &all[1..]), left);
    }

    #[test]
    fn what_could_stop_packets() {
        let Some(_scratch) = Scratch::enter() else { return };
        let line = Line::open().unwrap();
        let passes = || line.lets_pass(&[Family::V4]).unwrap();
        assert!(passes());
        let chain =
            "table ip filter {\nchain FORWARD {\ntype filter hook forward priority 0;\n}\n}\n";
        run("nft", &["-f", "-"], chain).unwrap();
        assert!(passes());
        run(
            "nft",
            &["add", "rule", "ip", "filter", "FORWARD", "ip", "saddr", "192.0.2.1", "drop"],
            "",
        )
        .unwrap();
        assert!(!passes());
        run("nft", &["flush", "chain", "ip", "filter", "FORWARD"], "").unwrap();
        run("nft", &["add", "chain", "ip", "filter", "FORWARD", "{ policy drop; }"], "").unwrap();
        assert!(!passes());
    }
}
