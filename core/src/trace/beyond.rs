//! What lies between the hosts, what comes back, and what becomes of real packets.

use std::net::IpAddr;

use super::{Lookup, MENDS, Stage, Step};
use crate::doctor::Echoes;
use crate::ids::Underlay;

/// Can the other host be reached itself? `echoes` are of its own address.
#[must_use]
pub fn underlay(host: Underlay, found: &Lookup, echoes: Option<Echoes>) -> Step {
    let stage = Stage::Underlay;
    match found {
        Lookup::Refuses(why) => {
            let hint = "`ip route get`: the hosts' own network must lead there";
            Step::breaks(stage, format!("there is no way to the host {host}: {why}"), hint)
        }
        Lookup::Local => {
            let hint = "correct --public-ip of the host that has it by mistake";
            Step::breaks(stage, format!("{host} is an address of this very host"), hint)
        }
        Lookup::Sends { .. } => match echoes {
            Some(Echoes { answered: 0, .. }) => Step::doubtful(
                stage,
                format!("packets to the host {host} go {found}, and it does not answer"),
                "is that host up? A firewall may drop echoes and let the rest pass",
            ),
            Some(echoes) if echoes.answered < echoes.sent => {
                let lost = echoes.sent - echoes.answered;
                let what =
                    format!("{lost} of {} packets to the host {host} were lost", echoes.sent);
                Step::doubtful(stage, what, "look at the link between the hosts")
            }
            Some(_well) => Step::passes(stage, format!("the host {host} answers, {found}")),
            None => Step::passes(stage, format!("packets to the host {host} go {found}")),
        },
    }
}

/// Would the kernel pass on to the container what comes from the other side by `entrance`?
#[must_use]
pub fn arrival(entrance: &str, (from, to): (IpAddr, IpAddr), found: &Lookup) -> Step {
    let stage = Stage::Arrival;
    match found {
        Lookup::Refuses(why) => Step::breaks(
            stage,
            format!("what {to} sends to {from} comes in by {entrance} and is dropped: {why}"),
            MENDS,
        ),
        Lookup::Sends { interface, .. } if interface == entrance => Step::breaks(
            stage,
            format!("what {to} sends to {from} would leave by {entrance} again"),
            "is there a container with that address? `ip route show table all`",
        ),
        // A container of this host is on the link of its bridge.
        Lookup::Sends { gateway: Some(_), .. } => Step::breaks(
            stage,
            format!("what {to} sends to {from} would leave this host again, {found}"),
            "is its bridge there, with the gateway's address? `twill network sync`",
        ),
        found => {
            Step::passes(stage, format!("what comes in by {entrance} for {from} goes {found}"))
        }
    }
}

/// What became of echoes to the other container; `sender` is where they were sent from.
#[must_use]
pub fn answer(to: IpAddr, sender: &str, echoes: Echoes) -> Step {
    let stage = Stage::Answer;
    let (sent, answered) = (echoes.sent, echoes.answered);
    match answered {
        0 => Step::breaks(
            stage,
            format!("{to} does not answer to {sender}"),
            "see the steps that are not ok, here and on the other host",
        ),
        some if some < sent => Step::doubtful(
            stage,
            format!("{to} answers to {sender}, {} of {sent} packets were lost", sent - some),
            "look at the link between the hosts",
        ),
        _all => {
            let mean = echoes.mean.as_secs_f64() * 1000.0;
            Step::passes(stage, format!("{to} answers to {sender} in {mean:.1} ms"))
        }
    }
}

/// What became of packets of the full size that may not be cut.
#[must_use]
pub fn full_size(to: IpAddr, bytes: u32, passed: bool) -> Step {
    let stage = Stage::Mtu;
    if passed {
        return Step::passes(stage, format!("packets of {bytes} bytes get to {to} and back whole"));
    }
    Step::breaks(
        stage,
        format!("small packets get to {to}, those of {bytes} bytes do not"),
        "a link between the hosts carries less than the uplinks: `twillctl network set --mtu` with \
         what that link carries",
    )
}
