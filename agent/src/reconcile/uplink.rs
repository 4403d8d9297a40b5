//! The interface to the other hosts: the one that they know, under another name, away, or another one.

use twill_core::device::Uplink;
use twill_core::ids::Underlay;
use twill_net::kernel::Choice;

use super::Reconciler;

impl Reconciler {
    /// Is the uplink still the one that peers know? As long as its address is on some interface with
    /// the same MTU, a new default route is no reason to move.
    pub(super) async fn uprooted(&mut self) -> bool {
        self.away = false;
        let Underlay(address) = self.uplink.address;
        let same = Choice { public_ip: Some(address), ..Choice::any(self.choice.family) };
        if let Ok(found) = self.kernel.uplink(&same).await
            && self.is_it(found)
        {
            self.is_there();
            return false;
        }
        match self.kernel.uplink(&self.choice).await {
            Ok(uplink) if uplink != self.uplink => {
                let Uplink { name, address, mtu, .. } = uplink;
                tracing::warn!(interface = name, %address, %mtu, "the uplink changed, joining again");
                true
            }
            Ok(_same) => {
                self.is_there();
                false
            }
            Err(error) => {
                // It may come back as it was; peers go on sending there.
                self.away = true;
                let Uplink { name, address, .. } = &self.uplink;
                let line = format!("the uplink {name} with {address} is away");
                if self.absence.meet(&line).1 {
                    tracing::warn!(%error, "{line}");
                }
                self.board.uplink(Some(line));
                false
            }
        }
    }

    fn is_there(&mut self) {
        if self.absence.over() {
            // What still fails now has another reason.
            self.trouble.over();
            tracing::info!("the uplink is there again");
        }
        self.board.uplink(None);
    }

    /// The same interface is the same under another name as well.
    fn is_it(&mut self, found: Uplink) -> bool {
        let name = self.uplink.name.clone();
        if (Uplink { name: name.clone(), ..found.clone() }) != self.uplink {
            return false;
        }
        if found.name != name {
            tracing::info!(from = name, to = found.name, "the uplink has another name");
            self.board.serves(|status| {
                if status.device == name {
                    status.device.clone_from(&found.name);
                }
            });
            self.wires.named.send_replace(found.name.clone());
            self.uplink = found;
        }
        true
    }
}
