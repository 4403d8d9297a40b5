//! The container at this host's end, and its pair of interfaces.

use std::net::IpAddr;

use super::{Outcome, Stage, Step};

/// Whom an address of this host's subnet belongs to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Holder {
    /// This host itself.
    Host,
    /// A container that was joined to the network.
    Container(Container),
    /// A container that was given by name, and does not run.
    Stopped {
        /// As it was asked for.
        name: String,
        /// What is known of its end.
        how: String,
    },
    /// Nobody.
    Nobody,
}

/// A container that was joined to the network, as the host sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Container {
    /// What people call it.
    pub name: String,
    /// The bridge that it was joined to.
    pub bridge: String,
    /// The host's end of its pair.
    pub interface: String,
    /// That end, if it is there.
    pub port: Option<Port>,
    /// What is in its own namespace.
    pub inside: Inside,
}

/// The host's end of a pair.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Port {
    /// Is it up?
    pub up: bool,
    /// Is the other end up as well?
    pub carrier: bool,
    /// The bridge that it is a port of.
    pub bridge: Option<String>,
}

/// What is in the container's own namespace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Inside {
    /// Its interface and its routes.
    Seen {
        /// Is its interface up?
        up: bool,
        /// Has that the address?
        address: bool,
        /// The gateway of the default route.
        gateway: Option<IpAddr>,
    },
    /// The namespace is gone, or another one is in its place.
    Gone,
    /// Nobody could look, and why.
    Unseen(String),
}

/// Is it there, and joined as it should be?
#[must_use]
pub fn container(address: IpAddr, holder: &Holder, gateway: IpAddr) -> Step {
    let stage = Stage::Container;
    match holder {
        Holder::Host => Step::passes(stage, format!("{address} is this host itself")),
        Holder::Stopped { name, how } => {
            let hint = format!("`twill start {name}`");
            Step::breaks(stage, format!("{name} does not run: {how}"), hint)
        }
        Holder::Nobody => Step::breaks(
            stage,
            format!("no container of this host has {address}"),
            "`twill ps -a` shows the containers of this host, `twill inspect` their addresses: was \
             it stopped, or started again with another one?",
        ),
        Holder::Container(container) => joined(address, container, gateway),
    }
}

fn joined(address: IpAddr, container: &Container, gateway: IpAddr) -> Step {
    let Container { name, bridge, interface, port, inside } = container;
    let again = format!("start it again: `twill restart {name}`, or delete the pod");
    let breaks = |what: String| Step::breaks(Stage::Container, what, again.clone());
    let Some(port) = port else {
        return breaks(format!("{name} has no interface on this host: {interface} is gone"));
    };
    let enslave = format!("ip link set {interface} up master {bridge}");
    if !port.up {
        let what = format!("{interface}, the host's end of {name}'s pair, is down");
        return Step::breaks(Stage::Container, what, enslave);
    }
    if port.bridge.as_deref() != Some(bridge) {
        let what = format!("{interface}, the host's end of {name}'s pair, is not on {bridge}");
        return Step::breaks(Stage::Container, what, enslave);
    }
    let step = match inside {
        Inside::Gone => return breaks(format!("the network namespace of {name} is gone")),
        Inside::Seen { up: false, .. } => {
            return breaks(format!("the interface inside {name} is down or gone"));
        }
        Inside::Seen { address: false, .. } => {
            return breaks(format!("{name} has lost its address {address}"));
        }
        Inside::Seen { gateway: None, .. } => {
            return breaks(format!("{name} has no default route"));
        }
        Inside::Seen { gateway: Some(found), .. } if *found != gateway => {
            return breaks(format!("the default route of {name} leads to {found}, not {gateway}"));
        }
        Inside::Seen { .. } => {
            let what = format!("{name} has {address}, on {bridge} by {interface}");
            Step::passes(Stage::Container, what)
        }
        Inside::Unseen(why) => {
            let what =
                format!("{name} is on {bridge} by {interface}; its inside was not seen: {why}");
            Step::unseen(Stage::Container, what, "twillctl trace --by-itself, as root")
        }
    };
    if port.carrier { step } else { no_carrier(step, container) }
}

/// The far end of the pair is down, whatever else could be seen.
fn no_carrier(step: Step, container: &Container) -> Step {
    if step.outcome == Outcome::Breaks {
        return step;
    }
    let what = format!("the interface inside {} is down", container.name);
    Step::breaks(
        Stage::Container,
        what,
        format!("start it again: `twill restart {}`", container.name),
    )
}
