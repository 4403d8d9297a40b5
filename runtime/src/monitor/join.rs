//! A container's way to the network, once its first process is there.

use twill_core::ids::Family;
use twill_endpoint::{Attachment, Request};
use twill_net::blocking::Kernel;
use twill_net::netns::Netns;

use super::ports::Held;
use crate::Paths;
use crate::bundle::files;
use crate::container::{Address, Ip, Network, Record, Store, links, reap};
use crate::error::{Error, Result};

/// Where it is then; nowhere of its own without a bridge.
pub(super) fn join(
    (paths, families): (&Paths, &[Family]),
    (record, held): (&Record, &mut Held),
    pid: i32,
) -> Result<Option<Address>> {
    let namespace = || {
        Netns::of_process(pid.unsigned_abs())
            .map_err(|error| Error::Namespace { source: Box::new(error) })
    };
    match record.network {
        Network::Host | Network::Container => Ok(None),
        Network::None => {
            let netns = namespace()?;
            Kernel::of(&netns)
                .and_then(|mut kernel| kernel.ensure_loopback())
                .map_err(|error| Error::Namespace { source: Box::new(error) })?;
            Ok(None)
        }
        Network::Bridge => {
            let netns = namespace()?;
            let attached = attach((paths, families), (record, held), &netns)?;
            let mut ips = attached.places.iter().copied().map(Ip::from);
            let address = ips.next().map(|first| Address {
                first,
                ipv6: ips.next(),
                mac: attached.container.mac.to_string(),
                mtu: attached.mtu.bytes(),
                bridge: attached.bridge.name,
                host_interface: attached.host.name,
            });
            if let Some(address) = &address {
                let links = links::entries(&Store::new(paths), record);
                files::write_hosts(&paths.container(&record.id), (record, &links), address)?;
            }
            Ok(address)
        }
    }
}

/// Takes the next port where another runtime was faster and there is one to choose.
fn attach(
    (paths, families): (&Paths, &[Family]),
    (record, held): (&Record, &mut Held),
    netns: &Netns,
) -> Result<Attachment> {
    loop {
        let attached = reap::host(paths).attach(&Request {
            ports: held.ports(),
            addresses: record.wiring.addresses.clone(),
            mac: record.wiring.mac.as_ref().and_then(|mac| mac.parse().ok()),
            ..Request::new(reap::owner(record), netns)
        });
        match attached {
            Err(twill_endpoint::Error::PortTaken { port, .. })
                if held.give_way(&port, (paths, record), families)? => {}
            attached => {
                return attached.map_err(|source| Error::Network { operation: "join", source });
            }
        }
    }
}
