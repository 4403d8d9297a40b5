//! Our table as one transaction. Pure.

use twill_core::firewall::ports::{Publication, TABLE, bridges, loopback};
use twill_core::ids::{Family, Subnet};

use super::rule::{End, hairpin, no_loopback, turn};
use crate::netfilter::{NESTED, REQUEST, nftables, push, question, with_length};

/// `NFPROTO_INET`.
pub(super) const INET: u8 = 1;

const NEW_TABLE: u16 = nftables(0);
const DROP_TABLE: u16 = nftables(2);
const NEW_CHAIN: u16 = nftables(3);
const NEW_RULE: u16 = nftables(6);
/// `NFNL_MSG_BATCH_BEGIN` and `…_END`, and whose batch it is.
const BEGIN: u16 = 16;
const END: u16 = 17;
const OF_NFTABLES: [u8; 2] = [0, 10];
/// `NLM_F_ACK`, `NLM_F_CREATE`, `NLM_F_APPEND`.
const ACKNOWLEDGE: u16 = 4;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
/// Without the flag a rule is put before all others.
const FRONT: u16 = 0;
/// `NF_INET_…` and `NF_ACCEPT`.
const PRE_ROUTING: u32 = 0;
const LOCAL_OUT: u32 = 3;
const POST_ROUTING: u32 = 4;
const ACCEPT: u32 = 1;

/// What a batch is to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Plan<'a> {
    /// The table for these, in place of whatever is there; without any, none.
    Whole(&'a [Publication]),
    /// The table for these, where there is none.
    First(&'a [Publication]),
    /// Rules for the second besides those for the first. As nothing goes, nobody has to wait until it is gone.
    More(&'a [Publication], &'a [Publication]),
}

/// Does all of it happen, or nothing; or is the kernel only to say whether it could? A batch without an end is undone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Purpose {
    Commit,
    Try,
}

pub(super) fn batch(plan: Plan<'_>, purpose: Purpose) -> Vec<u8> {
    let mut messages = vec![frame(BEGIN)];
    match plan {
        Plan::Whole(publications) => {
            messages.extend([table(NEW_TABLE, CREATE), table(DROP_TABLE, 0)]);
            if !publications.is_empty() {
                messages.push(table(NEW_TABLE, CREATE));
                messages.extend(chains(publications));
            }
        }
        Plan::First(publications) => {
            messages.push(table(NEW_TABLE, CREATE));
            messages.extend(chains(publications));
        }
        Plan::More(had, new) => messages.extend(more(had, new)),
    }
    // One word of the kernel, besides its complaints.
    if let Some(last) = messages.last_mut() {
        let flags = u16::from_ne_bytes([last[6], last[7]]) | ACKNOWLEDGE;
        last[6..8].copy_from_slice(&flags.to_ne_bytes());
    }
    if purpose == Purpose::Commit {
        messages.push(frame(END));
    }
    messages.concat()
}

fn chains(publications: &[Publication]) -> Vec<Vec<u8>> {
    let turns: Vec<Vec<u8>> = publications.iter().map(turn).collect();
    let hairpins: Vec<Vec<u8>> = bridges(publications).into_iter().flat_map(hairpins).collect();
    let outside = [End::Source, End::Destination].map(|end| no_loopback(end, loopback()));
    let mut messages = Vec::new();
    for (name, kind, (hook, priority), rules) in [
        ("arriving", "nat", (PRE_ROUTING, -100), turns.as_slice()),
        ("leaving", "nat", (LOCAL_OUT, -100), &turns),
        ("hairpin", "nat", (POST_ROUTING, 100), &hairpins),
        ("no-loopback", "filter", (PRE_ROUTING, -300), &outside),
    ] {
        messages.push(chain((name, kind), hook, priority));
        messages.extend(rules.iter().map(|it| rule(name, it, APPEND)));
    }
    messages
}

/// A rule for one address comes before those for all: at the front, where the others are put at the end.
fn more(had: &[Publication], new: &[Publication]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    for publication in new {
        let place = if publication.at.is_some() { FRONT } else { APPEND };
        let turn = turn(publication);
        messages.extend(["arriving", "leaving"].map(|chain| rule(chain, &turn, place)));
    }
    let known = bridges(had);
    let others = bridges(new).into_iter().filter(|it| !known.contains(it));
    messages.extend(others.flat_map(hairpins).map(|it| rule("hairpin", &it, APPEND)));
    messages
}

fn hairpins((bridge, subnet): (&str, Subnet)) -> impl Iterator<Item = Vec<u8>> {
    let own = (subnet.family() == Family::V4).then(loopback);
    own.into_iter().chain([subnet]).map(move |from| hairpin(bridge, from))
}

fn frame(kind: u16) -> Vec<u8> {
    let mut message = question(kind, REQUEST, 0);
    message[18..20].copy_from_slice(&OF_NFTABLES);
    message
}

fn table(kind: u16, flags: u16) -> Vec<u8> {
    let mut message = question(kind, REQUEST | flags, INET);
    text(&mut message, 1, TABLE);
    with_length(message)
}

fn chain((name, kind): (&str, &str), hook: u32, priority: i32) -> Vec<u8> {
    let mut message = question(NEW_CHAIN, REQUEST | CREATE, INET);
    text(&mut message, 1, TABLE);
    text(&mut message, 3, name);
    let mut place = Vec::new();
    push(&mut place, 1, &hook.to_be_bytes());
    push(&mut place, 2, &priority.to_be_bytes());
    push(&mut message, 4 | NESTED, &place);
    push(&mut message, 5, &ACCEPT.to_be_bytes());
    text(&mut message, 7, kind);
    with_length(message)
}

fn rule(chain: &str, expressions: &[u8], place: u16) -> Vec<u8> {
    let mut message = question(NEW_RULE, REQUEST | CREATE | place, INET);
    text(&mut message, 1, TABLE);
    text(&mut message, 2, chain);
    push(&mut message, 4 | NESTED, expressions);
    with_length(message)
}

/// With the end that C wants.
pub(super) fn text(message: &mut Vec<u8>, kind: u16, text: &str) {
    push(message, kind, &[text.as_bytes(), &[0]].concat());
}
