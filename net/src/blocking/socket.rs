//! One conversation with the kernel's routing socket: requests in a batch, answers in order.

use std::io;

use netlink_packet_core::{NLM_F_ACK, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;

use crate::netlink::Line;

/// A socket of the routing family, bound to the namespace that it was opened in.
#[derive(Debug)]
pub(crate) struct Conversation(Line);

/// What the kernel said to one request of a batch.
pub(crate) type Answer = io::Result<Option<RouteNetlinkMessage>>;

impl Conversation {
    pub(crate) fn open() -> io::Result<Self> {
        let mut line = Line::open(NETLINK_ROUTE)?;
        line.be_strict()?;
        Ok(Self(line))
    }

    /// Sends all requests in one datagram. The kernel works through them in order and goes on
    /// after one that fails; the answers are in the same order.
    ///
    /// Only the last one is acknowledged, and those that fail: each answer is a datagram of its own,
    /// and all of them wait in the socket's buffer while the kernel is at work, so that a batch has a
    /// hundred requests at most.
    pub(crate) fn ask(
        &mut self,
        requests: impl IntoIterator<Item = (RouteNetlinkMessage, u16)>,
    ) -> io::Result<Vec<Answer>> {
        let mut requests = requests.into_iter().peekable();
        let Self(line) = self;
        let first = line.sequence().wrapping_add(1);
        let (mut datagram, mut answers) = (Vec::new(), Vec::new());
        while let Some((message, flags)) = requests.next() {
            let acknowledged = if requests.peek().is_none() { NLM_F_ACK } else { 0 };
            line.append(&mut datagram, message, flags | acknowledged);
            answers.push(Ok(None));
        }
        if answers.is_empty() {
            return Ok(answers);
        }
        line.send(&datagram)?;
        let mut ended = false;
        while !ended {
            for message in line.receive()? {
                let sequence = message.header.sequence_number;
                let index = usize::try_from(sequence.wrapping_sub(first)).ok();
                // Not ours: the answer to a request of a batch that was given up.
                let Some(answer) = index.and_then(|index| answers.get_mut(index)) else { continue };
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => *answer = Ok(Some(inner)),
                    NetlinkPayload::Error(error) => {
                        if error.code.is_some() {
                            *answer = Err(error.to_io());
                        }
                        ended |= sequence == line.sequence();
                    }
                    _done_or_noop => {}
                }
            }
        }
        Ok(answers)
    }

    /// Everything that the kernel lists for `request`.
    pub(crate) fn dump(
        &mut self,
        request: &RouteNetlinkMessage,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.0.dump(request)
    }
}
