//! Looks whether a container is joined as it should be. Nothing is changed.

use twill_net::blocking::{Address, Kernel};
use twill_net::netns::Netns;

use crate::error::Error;
use crate::host::Host;
use crate::pool::Record;
use crate::request::Owner;

impl Host {
    /// The record of a container that is in the host's subnet of now, with the pair, the bridge and the
    /// address that belong to it. What is inside the container besides is its own affair.
    pub fn check(&self, owner: &Owner, netns: &Netns) -> Result<Record, Error> {
        let env = self.read_env()?;
        let pool = self.pool();
        let entry = pool.find(owner)?;
        let record = entry.map(|entry| pool.read(&entry)).transpose()?.flatten();
        let record = record.ok_or_else(|| Error::NotJoined { owner: Box::new(owner.clone()) })?;
        if record.subnet != env.subnet {
            let (owner, address) = (Box::new(owner.clone()), record.address);
            return Err(Error::Stranded { owner, address, subnet: env.subnet });
        }
        let spoilt = |what| Error::Spoilt { owner: Box::new(owner.clone()), what };
        if netns.identity()? != record.netns.identity() {
            return Err(spoilt("the network namespace is another one"));
        }
        let mut host = Kernel::here()?;
        let bridge = host.link(record.bridge.as_str())?;
        let bridge = bridge.ok_or_else(|| spoilt("the bridge is gone"))?.index;
        let port = host.link(&record.host_interface)?;
        if !port.is_some_and(|port| port.up && port.bridge == Some(bridge)) {
            return Err(spoilt("the host's end of its pair is gone, down or not on the bridge"));
        }
        let gateway = Address {
            link: bridge,
            address: env.subnet.first_host(),
            prefix_length: env.subnet.len(),
        };
        if !host.addresses()?.contains(&gateway) {
            return Err(spoilt("the bridge does not have the gateway's address"));
        }
        let mut inside = Kernel::of(netns)?;
        let link = inside.link(owner.interface.as_str())?.filter(|link| link.up);
        let link = link.ok_or_else(|| spoilt("its interface is gone or down"))?.index;
        let own = Address { link, address: record.address, prefix_length: record.subnet.len() };
        if !inside.addresses()?.contains(&own) {
            return Err(spoilt("its interface does not have its address"));
        }
        Ok(record)
    }
}
