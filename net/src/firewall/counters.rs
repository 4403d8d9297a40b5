//! What the counters of the table of peers say, asked of the kernel itself: the program `nft` would
//! list every peer for it.

use std::io;

use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_NETFILTER;
use twill_core::firewall::gate::{Count, Refused, Table};
use twill_core::ids::Family;

use crate::Error;
use crate::netfilter::{REQUEST, attributes, nftables, open, push, question, split, with_length};

/// `NFT_MSG_GETOBJ`, and what it is answered with, once a counter.
const ASK: u16 = nftables(19);
const ANSWER: u16 = nftables(18);
/// `NLM_F_DUMP`, and `NLMSG_DONE` and `NLMSG_ERROR` at its end.
const DUMP: u16 = 0x300;
const DONE: u16 = 3;
const ERROR: u16 = 2;
/// `NFPROTO_IPV4` and `NFPROTO_IPV6`, the tables' families.
const IPV4: u8 = 2;
const IPV6: u8 = 10;
/// `NFTA_OBJ_TABLE`, `NFTA_OBJ_NAME`, `NFTA_OBJ_DATA`; in the last `NFTA_COUNTER_BYTES` and
/// `NFTA_COUNTER_PACKETS`.
const OF_TABLE: u16 = 1;
const NAME: u16 = 2;
const DATA: u16 = 4;
const BYTES: u16 = 1;
const PACKETS: u16 = 2;

/// How many packets that table of peers has refused so far, of either family, in the calling thread's
/// namespace; none if there is no table.
pub fn refused(table: &Table) -> Result<Refused, Error> {
    Ok(refused_by(table, Family::V4)?.and(&refused_by(table, Family::V6)?))
}

/// The same of one family.
pub(super) fn refused_by(table: &Table, family: Family) -> Result<Refused, Error> {
    let number = match family {
        Family::V4 => IPV4,
        Family::V6 => IPV6,
    };
    let failed = |source| Error::WatchRules { source };
    let socket = Socket::new(NETLINK_NETFILTER).map_err(failed)?;
    let mut message = question(ASK, REQUEST | DUMP, number);
    push(&mut message, OF_TABLE, format!("{table}\0").as_bytes());
    socket.send(&with_length(message), 0).map_err(failed)?;
    let mut refused = Refused::default();
    loop {
        let (answers, _kernel) = socket.recv_from_full().map_err(failed)?;
        let mut rest = answers.as_slice();
        while !rest.is_empty() {
            let (message, behind) =
                split(rest).ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))?;
            match open(message) {
                Some((DONE | ERROR, _)) => return Ok(refused),
                Some((ANSWER, counter)) => _ = read(counter, &mut refused),
                _other => {}
            }
            rest = behind;
        }
    }
}

fn read(counter: &[u8], refused: &mut Refused) -> Option<()> {
    let value = |of: &[u8], wanted: u16| -> Option<Vec<u8>> {
        attributes(of).find(|(kind, _value)| *kind == wanted).map(|(_kind, value)| value.to_vec())
    };
    let name = value(counter, NAME)?;
    let data = value(counter, DATA)?;
    let number = |wanted| Some(u64::from_be_bytes(value(&data, wanted)?.try_into().ok()?));
    let count = Count { packets: number(PACKETS)?, bytes: number(BYTES)? };
    refused.set(std::str::from_utf8(&name).ok()?.trim_end_matches('\0'), count);
    Some(())
}
