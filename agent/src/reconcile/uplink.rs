//! The interface to the other hosts: the one that they know, under another name, away, or another one.

use twill_core::device::Uplink;
use twill_core::ids::Underlay;
use twill_net::Kernel;
use twill_net::kernel::Choice;

use super::Reconciler;
use super::part::Part;

/// What became of an uplink.
enum Found {
    /// It is the one that peers know; perhaps under another name, which was this one.
    Same(Option<String>),
    Another(Uplink),
    /// With what the kernel said.
    Away(twill_net::Error),
}

impl Reconciler {
    /// Is the uplink of a family not the one that peers know any more? From now on it is known of each whether
    /// it is there.
    pub(super) async fn uprooted(&mut self) -> bool {
        let mut away = None;
        for part in &mut self.parts {
            match part.find_uplink(&self.kernel).await {
                Found::Same(None) => {}
                Found::Same(Some(before)) => {
                    let name = part.uplink.name.clone();
                    tracing::info!(from = before, to = name, "the uplink has another name");
                    self.board.serves(|status| {
                        if status.device == before {
                            status.device.clone_from(&name);
                        }
                    });
                    self.wires.named.send_replace(name);
                }
                Found::Another(Uplink { name, address, mtu, .. }) => {
                    tracing::warn!(interface = name, %address, %mtu, "the uplink changed, joining again");
                    return true;
                }
                Found::Away(error) => {
                    let Uplink { name, address, .. } = &part.uplink;
                    let line = format!("the uplink {name} with {address} is away");
                    away = away.or(Some((line, error)));
                }
            }
        }
        match away {
            // It may come back as it was; peers go on sending there.
            Some((line, error)) => {
                if self.absence.meet(&line).1 {
                    tracing::warn!(%error, "{line}");
                }
                self.board.uplink(Some(line));
            }
            None => self.is_there(),
        }
        false
    }

    fn is_there(&mut self) {
        if self.absence.over() {
            // What still fails now has another reason.
            self.trouble.over();
            tracing::info!("the uplink is there again");
        }
        self.board.uplink(None);
    }
}

impl Part {
    /// As long as its address is on some interface with the same MTU, a new default route is no reason to
    /// move.
    async fn find_uplink(&mut self, kernel: &Kernel) -> Found {
        self.away = false;
        let Underlay(address) = self.uplink.address;
        let same = Choice { public_ip: Some(address), ..Choice::any(self.choice.family) };
        if let Ok(found) = kernel.uplink(&same).await
            && (Uplink { name: self.uplink.name.clone(), ..found.clone() }) == self.uplink
        {
            let before = std::mem::replace(&mut self.uplink, found).name;
            let renamed = before != self.uplink.name;
            if renamed {
                // Who looks for it by its name will want it by the new one.
                let names = self.choice.interfaces.iter_mut().filter(|name| **name == before);
                names.for_each(|name| name.clone_from(&self.uplink.name));
            }
            return Found::Same(Some(before).filter(|_| renamed));
        }
        match kernel.uplink(&self.choice).await {
            Ok(uplink) if uplink != self.uplink => Found::Another(uplink),
            Ok(_same) => Found::Same(None),
            Err(error) => {
                self.away = true;
                Found::Away(error)
            }
        }
    }
}
