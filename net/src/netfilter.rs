//! Messages of nfnetlink, as far as they are asked for here: headers and attributes.

/// The headers of netlink and of nfnetlink.
const HEADERS: usize = 16 + 4;

/// `NLM_F_REQUEST`.
pub(crate) const REQUEST: u16 = 1;

/// The subsystem `NFNL_SUBSYS_NFTABLES`, in which messages have numbers of their own.
#[cfg(feature = "agent")]
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
