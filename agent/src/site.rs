//! One look at the kernel, beside what this host should be like.

use std::collections::BTreeMap;

use twill_core::device::{DeviceSpec, IfIndex, Seen};
use twill_core::ids::Underlay;
use twill_core::plan::{Paths, Tables, desired, settled};
use twill_core::serving::Way;
use twill_core::trace::UplinkSeen;
use twill_net::Kernel;
use twill_net::kernel::{Dump, Ground};

use crate::blueprint::Blueprint;

/// What was seen.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) interfaces: Vec<Seen>,
    /// The tunnel devices as they should be.
    pub(crate) specs: BTreeMap<Way, DeviceSpec>,
    /// The rows towards peers, as they should be and as they are. Those of a device that is not there
    /// are on interface 0.
    pub(crate) wanted: Tables,
    pub(crate) actual: Tables,
}

impl Site {
    pub(crate) async fn look(
        kernel: &Kernel,
        blueprint: &Blueprint,
    ) -> Result<Self, twill_net::Error> {
        let setup = &blueprint.setup;
        let interfaces = kernel.interfaces().await?;
        let served = setup.serving.all();
        // A device that has no room is named by the agent.
        let spec = served.filter_map(|served| {
            Some((served.backend.way(), setup.device(served).ok().flatten()?))
        });
        let specs: BTreeMap<Way, DeviceSpec> = spec.collect();
        let index = |spec: &DeviceSpec| {
            let found = interfaces.iter().find(|seen| seen.name == spec.name());
            found.map_or(IfIndex(0), |seen| seen.index)
        };
        let devices: BTreeMap<Way, IfIndex> =
            specs.iter().map(|(way, spec)| (*way, index(spec))).collect();
        let there: Vec<IfIndex> =
            devices.values().copied().filter(|index| *index != IfIndex(0)).collect();
        let uplink = setup.uplink.index;
        let keyed: Vec<IfIndex> = devices.get(&Way::Wireguard).copied().into_iter().collect();
        let ground = Ground { devices: &there, keyed: &keyed, uplink, networks: &setup.networks };
        let Dump { tables: mut actual, link, alive } = kernel.dump(ground).await?;
        let current = setup.serving.current().backend.way();
        let (network, direct) = (setup.config.network, setup.is_direct());
        let mtus = setup.mtus();
        let paths =
            Paths { network, current, devices, uplink, link, mtus, direct, shared: setup.shared() };
        let wanted = desired(&paths, &blueprint.view.peers);
        // Who speaks from elsewhere than its lease says is heard, and the agent leaves it there.
        actual.wires = settled(&actual.wires, (&wanted, Some(&wanted)), &alive);
        Ok(Self { interfaces, specs, wanted, actual })
    }

    /// Is every tunnel device there?
    pub(crate) fn is_complete(&self) -> bool {
        self.specs.values().all(|spec| self.interface(spec.name()).is_some())
    }

    pub(crate) fn interface(&self, name: &str) -> Option<&Seen> {
        self.interfaces.iter().find(|seen| seen.name == name)
    }

    /// The interface to the other hosts, whatever its name is by now.
    pub(crate) fn uplink(&self, blueprint: &Blueprint) -> Option<UplinkSeen> {
        let wanted = &blueprint.setup.uplink;
        let Underlay(address) = wanted.address;
        let by_number = self.interfaces.iter().find(|seen| seen.index == wanted.index);
        let by_address = || self.interfaces.iter().find(|seen| seen.has(address));
        let found = by_number.or_else(by_address)?;
        Some(UplinkSeen {
            up: found.up,
            carrier: found.carrier,
            address: found.has(address),
            mtu: found.mtu,
        })
    }
}
