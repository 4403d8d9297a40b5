//! The number of nftables' transactions so far in the calling thread's namespace: whoever reads the
//! same number twice knows that nobody changed a rule in between.

use std::io;

use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_NETFILTER;

use crate::Error;
use crate::netfilter::{REQUEST, attributes, nftables, open, question};

/// `NFT_MSG_GETGEN`, and what it is answered with.
const ASK: u16 = nftables(16);
const ANSWER: u16 = nftables(15);
/// `NFTA_GEN_ID`.
const NUMBER: u16 = 1;

pub(super) fn read() -> Result<u32, Error> {
    let failed = |source| Error::WatchRules { source };
    let socket = Socket::new(NETLINK_NETFILTER).map_err(failed)?;
    socket.send(&question(ASK, REQUEST, 0), 0).map_err(failed)?;
    let (answer, _kernel) = socket.recv_from_full().map_err(failed)?;
    number(&answer).ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))
}

fn number(answer: &[u8]) -> Option<u32> {
    let (ANSWER, rest) = open(answer)? else { return None };
    let (_kind, id) = attributes(rest).find(|(kind, _value)| *kind == NUMBER)?;
    // Numbers of netfilter come in the network's order.
    Some(u32::from_be_bytes(id.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netfilter::push;

    #[test]
    fn answers() {
        let message = |kind: u16, attributes: &[u8]| {
            let mut message = question(kind, REQUEST, 0);
            message.extend(attributes);
            message
        };
        let attribute = |kind: u16, value: &[u8]| {
            let mut bytes = Vec::new();
            push(&mut bytes, kind, value);
            bytes
        };
        let id = attribute(NUMBER, &[0, 0, 1, 2]);
        let name = attribute(3, b"nft\0x");
        for (name, answer, want) in [
            ("the number alone", message(ANSWER, &id), Some(258)),
            ("behind another", message(ANSWER, &[name.clone(), id.clone()].concat()), Some(258)),
            ("another answer", message(nftables(2), &id), None),
            ("no number", message(ANSWER, &name), None),
            ("half a number", message(ANSWER, &id[..6]), None),
            ("an attribute of no length", message(ANSWER, &[0; 8]), None),
            ("nothing", Vec::new(), None),
        ] {
            assert_eq!(number(&answer), want, "{name}");
        }
    }
}
