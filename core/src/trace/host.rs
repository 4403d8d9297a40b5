//! What a packet meets between the container and the way out: bridge, switches, rules.

use std::net::IpAddr;

use super::{MENDS, Outcome, Stage, Step};
use crate::doctor::{self, Finding};
use crate::ids::Family;

/// The bridge of a container, and what it should be like.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bridge {
    /// Its name.
    pub name: String,
    /// The address that containers send to.
    pub gateway: IpAddr,
    /// What containers are told to send, in bytes.
    pub told: u32,
    /// What was seen of it.
    pub seen: Option<BridgeSeen>,
}

/// A bridge that is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BridgeSeen {
    /// Is it up?
    pub up: bool,
    /// Has it the gateway's address?
    pub gateway: bool,
    /// What it carries, in bytes.
    pub mtu: u32,
}

/// Does it take packets from its containers and have the gateway's address?
#[must_use]
pub fn bridge(bridge: &Bridge) -> Step {
    let Bridge { name, gateway, told, seen } = bridge;
    let stage = Stage::Bridge;
    let Some(seen) = seen else {
        let hint = "start a container: the first one makes it; `twill network sync` gives those \
                    that run a place on it";
        return Step::breaks(stage, format!("there is no bridge {name}"), hint);
    };
    let sync = "`twill network sync`";
    if !seen.up {
        return Step::breaks(stage, format!("{name} is down"), format!("ip link set {name} up"));
    }
    if !seen.gateway {
        return Step::breaks(
            stage,
            format!("{name} has not the gateway's address {gateway}"),
            sync,
        );
    }
    if seen.mtu > *told {
        let what = format!("{name} carries {} bytes, the tunnel {told}", seen.mtu);
        return Step::doubtful(stage, what, sync);
    }
    Step::passes(stage, format!("{name} is up with {gateway}, {} bytes", seen.mtu))
}

/// The kernel's switches for one interface that packets come in by.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Switch {
    /// Its name.
    pub interface: String,
    /// `forwarding` of it.
    pub forwarding: Option<String>,
    /// `rp_filter` of it.
    pub source_check: Option<String>,
}

/// Does the kernel pass packets on from each of these interfaces? `all` is `rp_filter` of all of them.
#[must_use]
pub fn forwarding((family, host): (Family, &str), all: &str, switches: &[Switch]) -> Step {
    let mut findings = vec![doctor::forwarding(family, host)];
    for switch in switches {
        findings.extend(
            switch
                .forwarding
                .as_deref()
                .map(|value| doctor::forwarding_from(&switch.interface, value)),
        );
        findings.extend(
            switch
                .source_check
                .as_deref()
                .map(|own| doctor::source_check(&switch.interface, [all, own])),
        );
    }
    let names: Vec<&str> = switches.iter().map(|switch| switch.interface.as_str()).collect();
    let well = match &names[..] {
        [] => "the host passes packets on".to_owned(),
        names => format!("the host passes packets on from {}", names.join(" and ")),
    };
    worst(Stage::Forwarding, findings, &well)
}

/// What the doctor found of rules that may drop packets of the overlay.
#[must_use]
pub fn firewall(findings: Vec<Finding>) -> Step {
    worst(Stage::Firewall, findings, "no rule of the host stops packets of the overlay")
}

fn worst(stage: Stage, findings: Vec<Finding>, well: &str) -> Step {
    let steps = findings.into_iter().map(|finding| Step::of(stage, finding));
    // Of equals the first: the later ones may follow from it.
    let worst = steps.reduce(|worst, step| if step.outcome > worst.outcome { step } else { worst });
    match worst {
        Some(step) if step.outcome != Outcome::Passes => {
            Step { hint: step.hint.or_else(|| Some(MENDS.to_owned())), ..step }
        }
        _well => Step::passes(stage, well),
    }
}
