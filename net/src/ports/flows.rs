//! What was on its way before rules changed. A client of TCP notices and asks anew; one of UDP that
//! keeps sending would be led for ever to where nobody is any more, or to the next owner of the address.

use std::collections::BTreeSet;
use std::net::IpAddr;

use twill_core::firewall::ports::{Protocol, Publication};
use twill_core::ids::Family;

use crate::Error;
use crate::blocking::Kernel;
use crate::conntrack::{self, Flow};

const UDP: u8 = 17;

/// What has changed about publications.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Change<'a> {
    /// There are rules for these, and perhaps there were none.
    pub new: Vec<&'a Publication>,
    /// There are none any more.
    pub gone: Vec<&'a Publication>,
}

impl Change<'_> {
    /// Makes the kernel forget flows of UDP that rules of now would lead elsewhere, in the calling thread's
    /// namespace. The rules have to be there already: the next packet is led by them.
    pub fn redirect(mut self) -> Result<(), Error> {
        for publications in [&mut self.new, &mut self.gone] {
            publications.retain(|it| it.protocol == Protocol::Udp);
        }
        let of = |family| self.new.iter().chain(&self.gone).any(|it| it.family() == family);
        let families: Vec<Family> =
            [Family::V4, Family::V6].into_iter().filter(|it| of(*it)).collect();
        if families.is_empty() {
            return Ok(());
        }
        let failed = |error| Error::ForgetFlows { source: std::io::Error::other(error) };
        let rows = Kernel::here().and_then(|mut kernel| kernel.addresses()).map_err(failed)?;
        let own = rows.into_iter().map(|row| row.address).collect();
        families
            .into_iter()
            .try_for_each(|family| conntrack::forget(family, |flow| self.misleads(flow, &own)))
    }

    fn misleads(&self, flow: &Flow, own: &BTreeSet<IpAddr>) -> bool {
        let (ip, port) = (flow.to.ip(), flow.to.port());
        let is_met = |it: &Publication| {
            let here = it.at.map_or(own.contains(&ip) || ip.is_loopback(), |at| at == ip);
            here && port == it.port && it.family() == Family::of(ip) && flow.answers != it.to
        };
        let was_met = |it: &Publication| port == it.port && flow.answers == it.to;
        flow.protocol == UDP
            && (self.new.iter().any(|it| is_met(it)) || self.gone.iter().any(|it| was_met(it)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_led_elsewhere() {
        let publication = |at: &str, to: &str| Publication {
            protocol: Protocol::Udp,
            at: at.parse().ok(),
            port: 53,
            to: to.parse().unwrap(),
            bridge: "twill0".to_owned(),
            subnet: "10.5.1.0/24".parse().unwrap(),
        };
        let (new, gone) = (publication("", "10.5.1.3:5"), publication("", "10.5.1.2:5"));
        let here = publication("192.0.2.1", "10.5.1.3:5");
        let own = ["192.0.2.1", "192.0.2.3"].map(|ip| ip.parse().unwrap()).into();
        let none = Change::default();
        let added = Change { new: vec![&new], ..none.clone() };
        let removed = Change { gone: vec![&gone], ..none.clone() };
        let moved = Change { new: vec![&new], gone: vec![&gone] };
        let narrow = Change { new: vec![&here], ..none.clone() };
        let (host, other) = ("192.0.2.1:53", "192.0.2.3:53");
        for (name, change, (to, answers), want) in [
            ("nothing happened", &none, (host, host), false),
            ("the host answers no more", &added, (host, host), true),
            ("nor on loopback", &added, ("127.0.0.1:53", "127.0.0.1:53"), true),
            ("another host is asked", &added, ("192.0.2.9:53", "192.0.2.9:53"), false),
            ("another port", &added, ("192.0.2.1:54", "192.0.2.1:54"), false),
            ("as it should be", &added, (host, "10.5.1.3:5"), false),
            ("nobody is there", &removed, (host, "10.5.1.2:5"), true),
            ("others are", &removed, (host, "10.5.1.3:5"), false),
            ("the host itself", &removed, (host, host), false),
            ("from one to the next", &moved, (host, "10.5.1.2:5"), true),
            ("at that address", &narrow, (host, host), true),
            ("at another one", &narrow, (other, other), false),
        ] {
            let [to, answers] = [to, answers].map(|end| end.parse().unwrap());
            let flow = Flow { protocol: UDP, to, answers };
            assert_eq!(change.misleads(&flow, &own), want, "{name}");
            assert!(!change.misleads(&Flow { protocol: 6, ..flow }, &own), "{name}: of TCP");
        }
    }
}
