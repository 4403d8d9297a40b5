//! Messages of nfnetlink, as far as they are asked for here: headers and attributes.

use std::io;

use netlink_sys::Socket;

/// The headers of netlink and of nfnetlink.
const HEADERS: usize = 16 + 4;

/// `NLM_F_REQUEST`.
pub(crate) const REQUEST: u16 = 1;

/// `NLA_F_NESTED`: attributes are the value.
pub(crate) const NESTED: u16 = 0x8000;

/// `NFT_MSG_GETGEN`, what it is answered with, and in that `NFTA_GEN_ID`.
const ASK_GENERATION: u16 = nftables(16);
const GENERATION: u16 = nftables(15);
const NUMBER: u16 = 1;

/// The number of nftables' transactions so far in the calling thread's namespace.
#[cfg(feature = "agent")]
pub(crate) fn generation() -> io::Result<u32> {
    generation_by(&Socket::new(netlink_sys::protocols::NETLINK_NETFILTER)?)
}

/// The same on a socket that is open.
pub(crate) fn generation_by(socket: &Socket) -> io::Result<u32> {
    socket.send(&question(ASK_GENERATION, REQUEST, 0), 0)?;
    let (answer, _kernel) = socket.recv_from_full()?;
    if let Some((2, _about)) = open(&answer) {
        outcome(&answer)?;
    }
    number(&answer).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn number(answer: &[u8]) -> Option<u32> {
    let (GENERATION, rest) = open(answer)? else { return None };
    let (_kind, id) = attributes(rest).find(|(kind, _value)| *kind == NUMBER)?;
    // Numbers of netfilter come in the network's order.
    Some(u32::from_be_bytes(id.try_into().ok()?))
}

/// What a message of the kind `NLMSG_ERROR` says, which may be that all is well.
pub(crate) fn outcome(message: &[u8]) -> io::Result<()> {
    let code = message.get(16..20).and_then(|code| code.try_into().ok()).map(i32::from_ne_bytes);
    match code.ok_or(io::ErrorKind::InvalidData)? {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code.saturating_neg())),
    }
}

/// The subsystem `NFNL_SUBSYS_NFTABLES`, in which messages have numbers of their own.
pub(crate) const fn nftables(message: u16) -> u16 {
    (10 << 8) | message
}

/// A question without attributes, or before they are put behind it.
pub(crate) fn question(kind: u16, flags: u16, family: u8) -> Vec<u8> {
    let mut message = vec![0; HEADERS];
    message[4..6].copy_from_slice(&kind.to_ne_bytes());
    message[6..8].copy_from_slice(&flags.to_ne_bytes());
    message[16] = family;
    with_length(message)
}

/// Tells in the header how long the message has become.
pub(crate) fn with_length(mut message: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    message[..4].copy_from_slice(&length.to_ne_bytes());
    message
}

/// What kind of message it is, and what follows its headers.
pub(crate) fn open(message: &[u8]) -> Option<(u16, &[u8])> {
    Some((short(message.get(4..)?)?, message.get(HEADERS..).unwrap_or_default()))
}

/// The first of several messages, which begin at multiples of four.
pub(crate) fn split(messages: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = u32::from_ne_bytes(messages.get(..4)?.try_into().ok()?);
    let length = usize::try_from(length).ok()?.max(4);
    let behind = messages.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((messages.get(..length)?, behind))
}

/// Attributes are a length, a type and a value, at multiples of four; reading ends where that is not so.
pub(crate) fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(short(rest)?);
        // Two bits of the type say how the value is written.
        let kind = short(rest.get(2..)?)? & 0x3fff;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// Puts one more behind a message; not for values of 64 kilobytes.
pub(crate) fn push(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

fn short(at: &[u8]) -> Option<u16> {
    Some(u16::from_ne_bytes(at.get(..2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations() {
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
            ("the number alone", message(GENERATION, &id), Some(258)),
            (
                "behind another",
                message(GENERATION, &[name.clone(), id.clone()].concat()),
                Some(258),
            ),
            ("another answer", message(nftables(2), &id), None),
            ("no number", message(GENERATION, &name), None),
            ("half a number", message(GENERATION, &id[..6]), None),
            ("an attribute of no length", message(GENERATION, &[0; 8]), None),
            ("nothing", Vec::new(), None),
        ] {
            assert_eq!(number(&answer), want, "{name}");
        }
    }
}
