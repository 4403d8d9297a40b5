//! What the last pass left: whatever differs from it without a reason, somebody else did.

use twill_core::plan::{Change, Tables, drift};
use twill_net::kernel::Mended;

use crate::metrics::Meters;
use crate::setup::Half;

/// Nothing before the first pass, which finds what an earlier run left.
#[derive(Debug, Default)]
pub(super) struct Last {
    stood: Option<(Half, Tables)>,
    failed: Vec<Change>,
}

/// What had to be done to devices, their addresses and settings.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) before: Mended,
    pub(super) after: Mended,
    pub(super) switched: bool,
}

impl Last {
    pub(super) fn of((setup, mut stood): (Half, Tables), failed: Vec<Change>) -> Self {
        for change in &failed {
            // Where the peer is said to be was not told.
            if let Change::PutWire(device, key, _wire) = change {
                stood.wires.remove(&(*device, *key));
            }
        }
        Self { stood: Some((setup, stood)), failed }
    }

    /// What the rows were when they were last as they should be.
    pub(super) fn stood(&self) -> Option<&Tables> {
        self.stood.as_ref().map(|(_setup, tables)| tables)
    }

    /// Counts those of the changes that nobody meant.
    pub(super) fn count_drift(&self, meters: &Meters, done: &[Change]) {
        let Some((_setup, stood)) = &self.stood else { return };
        for change in drift(done, stood) {
            // What could not be written before is late, and nobody's doing.
            if !self.failed.contains(&change) {
                meters.healed(change.table());
            }
        }
    }

    /// Under another setup devices and settings change because they are meant to.
    pub(super) fn count_mended(&self, meters: &Meters, found: &Found, setup: &Half) {
        let Found { before, after, switched } = found;
        if self.stood.as_ref().is_none_or(|(last, _tables)| last != setup) {
            return;
        }
        // A device that is made anew has its address and its settings made with it.
        if after.devices > before.devices {
            meters.healed("device");
        } else if after.addresses > before.addresses {
            meters.healed("address");
        } else if *switched {
            meters.healed("sysctl");
        }
    }
}
