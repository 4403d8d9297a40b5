//! The kernel's links, addresses and routes without a runtime, for programs that live for a few
//! milliseconds.
//!
//! A [`Kernel`] speaks about the one namespace that its socket was born in. Every verb can be
//! repeated: what is already so is a success, unless the verb says otherwise.

mod error;
mod message;
mod rate;
mod rows;
pub(crate) mod socket;
mod source;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::link::LinkMessage;
use nix::libc;
use twill_core::device::IfIndex;
use twill_core::ids::Family;

pub use self::error::{Error, Operation};
pub use self::rate::Rate;
pub use self::rows::{Address, Bridge, Link, LinkChange, Route, VethEnd, VethPair};
use self::socket::Conversation;
pub use self::source::Source;
use crate::netns::Netns;

/// The loopback interface has this number in every namespace.
const LOOPBACK: IfIndex = IfIndex(1);

/// The network of one namespace.
#[derive(Debug)]
pub struct Kernel {
    conversation: Conversation,
}

impl Kernel {
    /// The namespace of the calling thread.
    pub fn here() -> Result<Self, Error> {
        let conversation = Conversation::open().map_err(|source| Error::Open { source })?;
        Ok(Self { conversation })
    }

    /// The given namespace.
    pub fn of(netns: &Netns) -> Result<Self, Error> {
        // A thread made for it would cost more than all that is asked of the kernel there.
        let _inside = netns.enter()?;
        Self::here()
    }

    /// The interface of that name, if there is one.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, Error> {
        self.find(Operation::FindLink(name.to_owned()), message::link_named(name))
    }

    /// The interface of that number, if there is one.
    pub fn link_at(&mut self, index: IfIndex) -> Result<Option<Link>, Error> {
        self.find(Operation::FindLinkAt(index), message::link_numbered(index))
    }

    /// All interfaces.
    pub fn links(&mut self) -> Result<Vec<Link>, Error> {
        let rows =
            self.dump(Operation::ListLinks, &Message::GetLink(message::link_numbered(IfIndex(0))))?;
        Ok(rows
            .into_iter()
            .filter_map(|row| match row {
                Message::NewLink(link) => message::to_link(link),
                _other => None,
            })
            .collect())
    }

    /// All addresses, with those that the kernel itself gives to each link of IPv6.
    pub fn addresses(&mut self) -> Result<Vec<Address>, Error> {
        let request = Message::GetAddress(message::all_addresses());
        let rows = self.dump(Operation::ListAddresses, &request)?;
        Ok(rows
            .iter()
            .filter_map(|row| match row {
                Message::NewAddress(address) => message::to_address(address),
                _other => None,
            })
            .collect())
    }

    /// All unicast routes of the main table, those of IPv4 first.
    pub fn routes(&mut self) -> Result<Vec<Route>, Error> {
        let mut routes = Vec::new();
        for family in [Family::V4, Family::V6] {
            let request = Message::GetRoute(message::all_routes(family));
            let rows = self.dump(Operation::ListRoutes, &request)?;
            routes.extend(rows.iter().filter_map(|row| match row {
                Message::NewRoute(route) => message::to_route(family, route),
                _other => None,
            }));
        }
        Ok(routes)
    }

    /// Makes a bridge, or finds an interface of its name, which is left as it is.
    pub fn ensure_bridge(&mut self, bridge: &Bridge) -> Result<(), Error> {
        let request = Message::NewLink(message::bridge(bridge));
        let operation = Operation::AddBridge(bridge.name.clone());
        match self.one(operation, request, NLM_F_CREATE | NLM_F_EXCL) {
            Err(error) if !error.is_already_there() => Err(error),
            _made_or_found => Ok(()),
        }
    }

    /// Makes a pair whose other end appears in `netns`, in one step: there is no moment at which
    /// one end exists without the other, or the other is in the wrong place. A name that is taken
    /// on either side is an error ([`Error::is_already_there`]), and changes nothing.
    pub fn add_veth(&mut self, pair: &VethPair<'_>, netns: &Netns) -> Result<(), Error> {
        let request = Message::NewLink(message::veth_pair(pair, netns));
        let (host, peer) = (pair.host.name.to_owned(), pair.peer.name.to_owned());
        let operation = Operation::AddVeth { host, peer };
        self.one(operation, request, NLM_F_CREATE | NLM_F_EXCL).map(drop)
    }

    /// Changes an interface.
    pub fn change_link(&mut self, index: IfIndex, change: &LinkChange) -> Result<(), Error> {
        let request = Message::SetLink(message::link_change(index, change));
        self.one(Operation::ChangeLink(index), request, 0).map(drop)
    }

    /// May a port of a bridge send a packet back to where it came from?
    pub fn set_hairpin(&mut self, port: IfIndex, on: bool) -> Result<(), Error> {
        let request = Message::NewLink(message::hairpin(port, on));
        self.one(Operation::SetHairpin(port), request, 0).map(drop)
    }

    /// Removes an interface, and with a veth its other end. `false` if there was none.
    pub fn drop_link(&mut self, index: IfIndex) -> Result<bool, Error> {
        let request = Message::DelLink(message::link_numbered(index));
        match self.one(Operation::DropLink(index), request, 0) {
            Err(error) if error.errno() == Some(libc::ENODEV) => Ok(false),
            dropped => dropped.map(|_none| true),
        }
    }

    /// Gives an interface an address.
    pub fn ensure_address(&mut self, address: Address) -> Result<(), Error> {
        self.batch([add_address(address)])
    }

    /// Takes an address away.
    pub fn drop_address(&mut self, address: Address) -> Result<(), Error> {
        let request = Message::DelAddress(message::address(address));
        match self.one(Operation::DropAddress(address), request, 0) {
            Err(error) if !matches!(error.errno(), Some(libc::EADDRNOTAVAIL | libc::ENODEV)) => {
                Err(error)
            }
            _dropped_or_gone => Ok(()),
        }
    }

    /// Adds a route, or replaces the one to the same destination.
    pub fn put_route(&mut self, route: Route) -> Result<(), Error> {
        self.batch([put_route(route)])
    }

    /// Takes a route away.
    pub fn drop_route(&mut self, route: Route) -> Result<(), Error> {
        let request = Message::DelRoute(message::route(&route));
        match self.one(Operation::DropRoute(route), request, 0) {
            Err(error) if !matches!(error.errno(), Some(libc::ESRCH | libc::ENODEV)) => Err(error),
            _dropped_or_gone => Ok(()),
        }
    }

    /// Brings the loopback interface up.
    pub fn ensure_loopback(&mut self) -> Result<(), Error> {
        self.batch([raise(LOOPBACK)])
    }

    /// Sets up a namespace in one exchange: loopback and `link` up, then the link's addresses, then
    /// the routes.
    pub fn configure(
        &mut self,
        link: IfIndex,
        addresses: &[Address],
        routes: &[Route],
    ) -> Result<(), Error> {
        let addresses = addresses.iter().copied().map(add_address);
        let routes = routes.iter().copied().map(put_route);
        self.batch([raise(LOOPBACK), raise(link)].into_iter().chain(addresses).chain(routes))
    }

    fn find(&mut self, operation: Operation, wanted: LinkMessage) -> Result<Option<Link>, Error> {
        match self.one(operation, Message::GetLink(wanted), 0) {
            Ok(Some(Message::NewLink(link))) => Ok(message::to_link(link)),
            Ok(_other) => Ok(None),
            Err(error) if error.errno() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The first failure counts: those after it follow from it.
    fn batch(&mut self, batch: impl IntoIterator<Item = Step>) -> Result<(), Error> {
        let (mut operations, mut requests) = (Vec::new(), Vec::new());
        for (operation, request, flags) in batch {
            operations.push(operation);
            requests.push((request, flags));
        }
        let answers = self.conversation.ask(requests);
        let answers = answers.map_err(|source| Error::Open { source })?;
        for (operation, answer) in operations.into_iter().zip(answers) {
            match answer {
                Err(source) if source.raw_os_error() != Some(libc::EEXIST) => {
                    return Err(Error::Refused { operation, source });
                }
                _done_or_already_so => {}
            }
        }
        Ok(())
    }

    fn one(
        &mut self,
        operation: Operation,
        request: Message,
        flags: u16,
    ) -> Result<Option<Message>, Error> {
        let answer = self.conversation.ask(vec![(request, flags)]);
        let answer = answer.and_then(|mut answers| answers.pop().unwrap_or(Ok(None)));
        answer.map_err(|source| Error::Refused { operation, source })
    }

    fn dump(&mut self, operation: Operation, request: &Message) -> Result<Vec<Message>, Error> {
        let rows = self.conversation.dump(request);
        rows.map_err(|source| Error::Refused { operation, source })
    }
}

type Step = (Operation, Message, u16);

fn raise(link: IfIndex) -> Step {
    let up = LinkChange { up: true, ..LinkChange::default() };
    (Operation::Raise(link), Message::SetLink(message::link_change(link, &up)), 0)
}

fn add_address(address: Address) -> Step {
    let request = Message::NewAddress(message::address(address));
    (Operation::AddAddress(address), request, NLM_F_CREATE | NLM_F_EXCL)
}

fn put_route(route: Route) -> Step {
    let request = Message::NewRoute(message::route(&route));
    (Operation::PutRoute(route), request, NLM_F_CREATE | NLM_F_REPLACE)
}

#[cfg(test)]
mod tests;
