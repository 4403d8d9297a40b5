//! Has the kernel carry what it can of `udp`.
//!
//! Its programs stay when a process ends. So whoever ends a look at them without a shortcut has taken away
//! what an earlier process left as well, and the lift with it: see [`forget`].

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Context;
use twill_core::device::IfIndex;
use twill_core::serving::is_tunnel;
use twill_net::kernel::lift_of;
use twill_net::{Kernel, ipsec};
use twill_tunnel::shortcut::{Claim, Ground, Interface, Lift};
use twill_tunnel::{Endpoint, Tunnel};

use crate::failure::Failure;
use crate::flags::Shortcut;
use crate::setup::Half;
use crate::trouble::Trouble;

/// When a kernel that refused what may be granted later is asked again; sooner if the interfaces are others.
const AGAIN: Duration = Duration::from_mins(5);

/// How it went the last time.
#[derive(Debug, Default)]
pub(super) struct Tried {
    state: State,
    /// Why a lift could not be had, and when.
    liftless: Option<(String, Instant)>,
    /// What could not be done the last time.
    trouble: Trouble,
}

#[derive(Debug, Default)]
enum State {
    /// What is there is an earlier process's.
    #[default]
    Unknown,
    Led(Ground),
    /// Nothing is there.
    Out(Ground, Obstacle, Instant),
}

/// Why there is no shortcut.
#[derive(Debug, Eq, PartialEq)]
enum Obstacle {
    NotWanted,
    NotEthernet,
    Encrypted,
    /// It may be granted later.
    Refused(String),
    /// This kernel cannot, or this process may not.
    Unable(String),
}

/// A tunnel, and where it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) device: (&'a str, IfIndex),
    pub(super) endpoint: &'a Endpoint,
    pub(super) tunnel: &'a Tunnel,
}

impl Tried {
    /// Sees to it that packets take the shortcut if they can; that they cannot is no failure, and holds up nothing
    /// else. What could not be done is tried again with the next look.
    pub(super) async fn ensure(&mut self, place: Place<'_>, around: (&Kernel, &Half)) {
        // One of IPv6 has the same port as the one beside it, and never had programs.
        if place.endpoint.underlay.is_ipv4() {
            let done = self.look(place, around).await;
            if done.is_err() {
                self.state = State::Unknown;
            }
            tell(&mut self.trouble, done);
        }
    }

    async fn look(
        &mut self,
        place: Place<'_>,
        (kernel, setup): (&Kernel, &Half),
    ) -> Result<(), Failure> {
        let mut ground = ground(place.device, setup);
        if let Some(obstacle) = obstacle(kernel, (setup, &ground)).await? {
            return self.leave(place, kernel, (ground, obstacle)).await;
        }
        if self.state.rests(&ground, Instant::now()) {
            return Ok(());
        }
        ground.lift = self.lift(kernel, (place.device.0, setup)).await;
        match place.tunnel.ensure_shortcut(&ground) {
            Ok(changed) => self.follow(place, kernel, (ground, changed)).await,
            Err(error) => {
                ground.lift = None;
                let obstacle =
                    if error.is_lasting() { Obstacle::Unable } else { Obstacle::Refused };
                let obstacle = obstacle(Failure::refused(error).line());
                self.leave(place, kernel, (ground, obstacle)).await
            }
        }
    }

    /// The programs are in.
    async fn follow(
        &mut self,
        place: Place<'_>,
        kernel: &Kernel,
        (ground, changed): (Ground, bool),
    ) -> Result<(), Failure> {
        let device = place.device.0;
        let mut done = Ok(());
        if !matches!(&self.state, State::Led(before) if *before == ground) {
            done = clear_around(kernel, (place, &ground)).await;
            let lift = ground.lift.as_ref().map(|lift| &lift.name);
            tracing::info!(device, lift, "the kernel carries what is ordinary");
        } else if changed {
            tracing::info!(device, "somebody took the shortcut away, it is back");
        }
        // Not before somebody looks at what comes in by it; and nothing goes to its port that is not its own.
        if let Some(lift) = &ground.lift {
            if let Err(error) = kernel.raise_lift(&lift.name).await {
                place.tunnel.shut_lift();
                self.go_without_lift(device, error);
                self.state = State::Unknown;
                return done.and(drop_lift(kernel, device).await);
            }
            place.tunnel.open_lift();
            self.liftless = None;
        }
        self.state = State::Led(ground);
        done
    }

    async fn leave(
        &mut self,
        place: Place<'_>,
        kernel: &Kernel,
        (ground, obstacle): (Ground, Obstacle),
    ) -> Result<(), Failure> {
        let known = matches!(&self.state, State::Out(before, last, _when)
            if *before == ground && *last == obstacle);
        if known && !matches!(obstacle, Obstacle::Refused(_)) {
            return Ok(());
        }
        place.tunnel.drop_shortcut();
        let device = place.device.0;
        forget(kernel, place.endpoint.port).await?;
        drop_lift(kernel, device).await?;
        if !known {
            obstacle.tell(device);
        }
        self.state = State::Out(ground, obstacle, Instant::now());
        Ok(())
    }

    async fn lift(&mut self, kernel: &Kernel, (device, setup): (&str, &Half)) -> Option<Lift> {
        if self.liftless.as_ref().is_some_and(|(_why, when)| when.elapsed() < AGAIN) {
            return None;
        }
        let name = lift_of(device)?;
        match kernel.ensure_lift(&name, &setup.ports()).await {
            Ok(port) => Some(Lift { name, port }),
            Err(error) => {
                self.go_without_lift(device, error);
                None
            }
        }
    }

    /// Without it streams are slower, and that is all.
    fn go_without_lift(&mut self, device: &str, error: twill_net::Error) {
        let why = Failure::from(error).line();
        if self.liftless.as_ref().is_none_or(|(before, _when)| *before != why) {
            tracing::info!(device, "streams are not lifted, and slower: {why}");
        }
        self.liftless = Some((why, Instant::now()));
    }
}

impl State {
    /// Is nothing to be tried, because nothing has changed since it was in vain?
    fn rests(&self, ground: &Ground, now: Instant) -> bool {
        match self {
            Self::Out(before, Obstacle::Unable(_), _when) => before == ground,
            Self::Out(before, Obstacle::Refused(_), when) => {
                before == ground && now.duration_since(*when) < AGAIN
            }
            Self::Unknown | Self::Led(_) | Self::Out(..) => false,
        }
    }
}

async fn obstacle(
    kernel: &Kernel,
    (setup, ground): (&Half, &Ground),
) -> Result<Option<Obstacle>, Failure> {
    if setup.udp.shortcut == Shortcut::Off {
        return Ok(Some(Obstacle::NotWanted));
    }
    if !kernel.is_ethernet(&ground.uplink.name).await? {
        return Ok(Some(Obstacle::NotEthernet));
    }
    Ok(match ipsec::policies() {
        Ok(0) => None,
        Ok(_some) => Some(Obstacle::Encrypted),
        Err(error) => Some(Obstacle::Refused(Failure::from(error).line())),
    })
}

/// Once, and again when it is over.
pub(super) fn tell(trouble: &mut Trouble, done: Result<(), Failure>) {
    let Err(failure) = done else {
        if trouble.over() {
            tracing::info!("what was left of a shortcut of udp is gone");
        }
        return;
    };
    let why = failure.line();
    if trouble.meet(&why).1 {
        tracing::warn!("something is left of a shortcut of udp: {why}");
    }
}

impl Obstacle {
    fn tell(&self, device: &str) {
        match self {
            Self::NotWanted => tracing::debug!(device, "{self}"),
            Self::NotEthernet => tracing::info!(device, "{self}"),
            Self::Encrypted | Self::Refused(_) | Self::Unable(_) => {
                tracing::warn!(device, "{self}");
            }
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let begin = "no shortcut for udp, all goes through user space:";
        match self {
            Self::NotWanted => write!(f, "{begin} --udp-shortcut=off"),
            Self::NotEthernet => write!(f, "{begin} the uplink is not one of Ethernet"),
            Self::Encrypted => {
                write!(f, "{begin} there are policies of IPsec, which it would pass by")
            }
            Self::Refused(why) | Self::Unable(why) => write!(f, "{begin} {why}"),
        }
    }
}

/// Takes away what an earlier process put in elsewhere: it may have had another uplink, or a lift.
async fn clear_around(
    kernel: &Kernel,
    (place, ground): (Place<'_>, &Ground),
) -> Result<(), Failure> {
    let lift = ground.lift.as_ref().map(|lift| lift.name.as_str());
    let keep = [&ground.device.name, &ground.uplink.name].map(String::as_str);
    let keep: Vec<&str> = keep.into_iter().chain(lift).collect();
    let dropped = kernel.drop_programs(place.endpoint.port, &keep).await.map_err(Failure::from);
    if lift.is_none() {
        return dropped.and(drop_lift(kernel, place.device.0).await);
    }
    dropped
}

/// Takes away what an earlier process put in for the tunnel of this port, wherever it is; nothing while a
/// tunnel of that port has the shortcut.
pub(crate) async fn forget(kernel: &Kernel, port: u16) -> Result<(), Failure> {
    let claim = Claim::take(port).context("cannot see who has the shortcut of udp")?;
    if let Some(claim) = claim {
        kernel.drop_programs(port, &[]).await?;
        claim.close().context("cannot forget what programs of udp knew each other by")?;
    }
    Ok(())
}

/// The ports of programs without a tunnel's device, which somebody took away.
pub(super) async fn orphans(kernel: &Kernel) -> Result<BTreeSet<u16>, Failure> {
    let (mut ports, mut kept) = (BTreeSet::new(), BTreeSet::new());
    for program in kernel.programs().await? {
        let has_device = program.is_at_exit() && is_tunnel(&program.interface);
        let known = if has_device { &mut kept } else { &mut ports };
        known.insert(program.port);
    }
    ports.retain(|port| !kept.contains(port));
    Ok(ports)
}

/// Takes the lift of a device away, if it has one.
pub(crate) async fn drop_lift(kernel: &Kernel, device: &str) -> Result<(), Failure> {
    match lift_of(device) {
        Some(name) => Ok(kernel.drop_lift(&name).await.map(drop)?),
        None => Ok(()),
    }
}

fn ground((device, index): (&str, IfIndex), setup: &Half) -> Ground {
    let interface =
        |name: &str, index: IfIndex| Interface { name: name.to_owned(), index: index.0 };
    let uplink = interface(&setup.uplink.name, setup.uplink.index);
    Ground { device: interface(device, index), uplink, lift: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_is_asked_again_only_of_other_interfaces() {
        let ground = |index| {
            let interface = |name: &str| Interface { name: name.to_owned(), index };
            Ground { device: interface("flannel0"), uplink: interface("eth0"), lift: None }
        };
        let (start, why) = (Instant::now(), || "EPERM".to_owned());
        let out = |obstacle| State::Out(ground(1), obstacle, start);
        let (soon, later) = (start + AGAIN / 2, start + 100 * AGAIN);
        for (name, state, [same_soon, same_later, other]) in [
            ("no right to it", out(Obstacle::Unable(why())), [true, true, false]),
            ("busy", out(Obstacle::Refused(why())), [true, false, false]),
            ("policies of IPsec", out(Obstacle::Encrypted), [false; 3]),
            ("an earlier process", State::Unknown, [false; 3]),
            ("it leads", State::Led(ground(1)), [false; 3]),
        ] {
            assert_eq!(state.rests(&ground(1), soon), same_soon, "{name}, soon");
            assert_eq!(state.rests(&ground(1), later), same_later, "{name}, later");
            assert_eq!(state.rests(&ground(2), soon), other, "{name}, elsewhere");
        }
    }
}
