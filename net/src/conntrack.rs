//! Connections that the kernel remembers, to make it forget some: while it remembers one, its packets
//! go where the first one went, whatever the rules say by now.

use std::io;
use std::net::{IpAddr, SocketAddr};

use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_NETFILTER;
use twill_core::ids::Family;

use crate::Error;
use crate::netfilter::{
    NESTED, REQUEST, attributes, open, outcome, push, question, split, with_length,
};

/// `IPCTNL_MSG_CT_GET` and `IPCTNL_MSG_CT_DELETE` of the subsystem `NFNL_SUBSYS_CTNETLINK`.
const ASK: u16 = (1 << 8) | 1;
const FORGET: u16 = (1 << 8) | 2;
/// `NLM_F_DUMP` and `NLM_F_ACK`; `NLMSG_DONE` and `NLMSG_ERROR`.
const DUMP: u16 = 0x300;
const ACKNOWLEDGE: u16 = 4;
const DONE: u16 = 3;
const ERROR: u16 = 2;
/// `CTA_TUPLE_ORIG`, `CTA_TUPLE_REPLY`, `CTA_ID`, `CTA_ZONE`.
const SENT: u16 = 1;
const ANSWERED: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
/// `CTA_TUPLE_IP` and in it `CTA_IP_V4_SRC` to `CTA_IP_V6_DST`; `CTA_TUPLE_PROTO` and in it
/// `CTA_PROTO_NUM` to `CTA_PROTO_DST_PORT`.
const ADDRESSES: u16 = 1;
const FROM: [u16; 2] = [1, 3];
const TO: [u16; 2] = [2, 4];
const PROTOCOL: u16 = 2;
const NUMBER: u16 = 1;
const FROM_PORT: u16 = 2;
const TO_PORT: u16 = 3;

/// Where a connection leads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Flow {
    /// The number of its protocol: 17 is UDP.
    pub(crate) protocol: u8,
    /// Whom the first packet was sent to.
    pub(crate) to: SocketAddr,
    /// Who answers, or would.
    pub(crate) answers: SocketAddr,
}

/// Forgets those connections of a family that are `doomed`, in the calling thread's namespace. One that ends
/// in the meantime is as good.
pub(crate) fn forget(family: Family, doomed: impl Fn(&Flow) -> bool) -> Result<(), Error> {
    let failed = |source| Error::ForgetFlows { source };
    let socket = Socket::new(NETLINK_NETFILTER).map_err(failed)?;
    for name in names(&socket, family, doomed).map_err(failed)? {
        let mut message = question(FORGET, REQUEST | ACKNOWLEDGE, number(family));
        message.extend(name);
        socket.send(&with_length(message), 0).map_err(failed)?;
        let (answer, _kernel) = socket.recv_from_full().map_err(failed)?;
        match outcome(&answer) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            outcome => outcome.map_err(failed)?,
        }
    }
    Ok(())
}

/// What the kernel knows each of them by.
fn names(
    socket: &Socket,
    family: Family,
    doomed: impl Fn(&Flow) -> bool,
) -> io::Result<Vec<Vec<u8>>> {
    socket.send(&question(ASK, REQUEST | DUMP, number(family)), 0)?;
    let mut found = Vec::new();
    loop {
        let (answers, _kernel) = socket.recv_from_full()?;
        let mut rest = answers.as_slice();
        while !rest.is_empty() {
            let (message, behind) = split(rest).ok_or(io::ErrorKind::InvalidData)?;
            match open(message) {
                Some((DONE, _)) => return Ok(found),
                Some((ERROR, _)) => return outcome(message).map(|()| found),
                Some((_flow, about)) => {
                    found.extend(read(about).filter(&doomed).map(|_flow| name(about)));
                }
                None => {}
            }
            rest = behind;
        }
    }
}

fn number(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

/// `None` if it is of a protocol without ports.
fn read(about: &[u8]) -> Option<Flow> {
    let (sent, answered) = (value(about, SENT)?, value(about, ANSWERED)?);
    Some(Flow {
        protocol: *value(value(sent, PROTOCOL)?, NUMBER)?.first()?,
        to: end(sent, (TO, TO_PORT))?,
        answers: end(answered, (FROM, FROM_PORT))?,
    })
}

fn end(tuple: &[u8], ([ipv4, ipv6], port): ([u16; 2], u16)) -> Option<SocketAddr> {
    let addresses = value(tuple, ADDRESSES)?;
    let ip = match value(addresses, ipv4) {
        Some(ip) => IpAddr::from(<[u8; 4]>::try_from(ip).ok()?),
        None => IpAddr::from(<[u8; 16]>::try_from(value(addresses, ipv6)?).ok()?),
    };
    let port = value(value(tuple, PROTOCOL)?, port)?.try_into().ok()?;
    Some((ip, u16::from_be_bytes(port)).into())
}

fn name(about: &[u8]) -> Vec<u8> {
    let mut name = Vec::new();
    for kind in [SENT, ZONE, ID] {
        let Some(value) = value(about, kind) else { continue };
        push(&mut name, if kind == SENT { kind | NESTED } else { kind }, value);
    }
    name
}

fn value(of: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(of).find(|(kind, _value)| *kind == wanted).map(|(_kind, value)| value)
}
