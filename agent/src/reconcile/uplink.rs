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
        let same = Choice { public_ip: Some(address), ..Choice::default() };
        if let Ok(found) = self.kernel.uplink(&same).await
            && self.is_it(found)
        {
            self.board.uplink(None);
            return false;
        }
        match self.kernel.uplink(&self.choice).await {
            Ok(uplink) if uplink != self.uplink => {
                let Uplink { name, address, mtu, .. } = uplink;
                tracing::warn!(interface = name, %address, %mtu, "the uplink changed, joining again");
                true
            }
            Ok(_same) => {
                self.board.uplink(None);
                false
            }
            Err(error) => {
                // It may come back as it was; peers go on sending there.
                tracing::debug!(%error, "the uplink is away");
                self.away = true;
                let Uplink { name, address, .. } = &self.uplink;
                self.board.uplink(Some(format!("the uplink {name} with {address} is away")));
                false
            }
        }
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
