//! Whether packets of this host have to be encrypted: the kernel's policies of `IPsec`.

use std::io;

use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_XFRM;
use nix::libc;

use crate::Error;
use crate::netfilter::{REQUEST, attributes, open, question};

/// `XFRM_MSG_NEWSPDINFO` and `XFRM_MSG_GETSPDINFO`; both have four bytes of flags behind netlink's header, as
/// nfnetlink has a header of that size.
const NUMBERS: u16 = 0x24;
const HOW_MANY: u16 = 0x25;
/// `XFRMA_SPD_INFO`: numbers of policies for what comes in, goes out and is passed on, each of 32 bits, before
/// those that belong to sockets.
const INFO: u16 = 1;
const DIRECTIONS: usize = 3;

/// How many policies there are in the calling thread's namespace, those of single sockets apart. None in a kernel
/// without any of it.
pub fn policies() -> Result<u32, Error> {
    let failed = |source| Error::List { table: "policies of IPsec", source };
    let socket = match Socket::new(NETLINK_XFRM) {
        Err(error) if error.raw_os_error() == Some(libc::EPROTONOSUPPORT) => return Ok(0),
        socket => socket.map_err(failed)?,
    };
    socket.send(&question(HOW_MANY, REQUEST, 0), 0).map_err(failed)?;
    let (answer, _kernel) = socket.recv_from_full().map_err(failed)?;
    sum(&answer).ok_or_else(|| failed(refusal(&answer)))
}

fn sum(answer: &[u8]) -> Option<u32> {
    let (NUMBERS, parts) = open(answer)? else { return None };
    let (_kind, numbers) = attributes(parts).find(|(kind, _value)| *kind == INFO)?;
    let numbers = numbers.chunks_exact(4).take(DIRECTIONS);
    numbers.map(|number| number.try_into().ok().map(u32::from_ne_bytes)).sum()
}

fn refusal(answer: &[u8]) -> io::Error {
    /// `NLMSG_ERROR`.
    const ERROR: u16 = 2;
    let code = answer.get(16..20).and_then(|code| code.try_into().ok()).map(i32::from_ne_bytes);
    match (open(answer), code) {
        (Some((ERROR, _)), Some(code)) => io::Error::from_raw_os_error(code.saturating_neg()),
        _other => io::ErrorKind::InvalidData.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netfilter::{push, with_length};
    use crate::netns::Scratch;

    #[test]
    fn numbers_are_added_up() {
        let mut answer = question(NUMBERS, 0, 0);
        let numbers = [1_u32, 2, 4, 8, 16, 32].map(u32::to_ne_bytes).concat();
        push(&mut answer, INFO, &numbers);
        assert_eq!(sum(&with_length(answer)), Some(7), "without those of sockets");
        assert_eq!(sum(&question(NUMBERS, 0, 0)), None);
        assert_eq!(sum(&[]), None);
    }

    #[test]
    fn a_new_namespace_has_none() {
        let Some(_scratch) = Scratch::enter() else { return };
        assert_eq!(policies().unwrap(), 0);
    }
}
