//! Takes over routes of a flanneld that has no tunnel.

use std::collections::BTreeSet;

use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::route::RouteProtocol;
use nix::libc;
use twill_core::device::IfIndex;
use twill_core::ids::{Family, Subnet, Underlay};
use twill_core::plan::{Change, Hop, Route};

use super::super::Kernel;
use super::apply::{PUT, Request, dropped_route, route};
use super::rows::{destination, device_of, gateway_of, is_like_flannels};
use crate::Error;

impl Kernel {
    /// Gives our mark to routes that a flanneld wrote to hosts on the link, each in its place, so that no
    /// packet goes another way. From then on they are rows like ours.
    pub async fn adopt(&self, routes: &[(Subnet, IfIndex, Underlay)]) -> Result<(), Error> {
        let rows = routes.iter().map(|(subnet, uplink, host)| {
            let row = Route::from(Hop::Via(*uplink, *host));
            (Change::PutRoute(*subnet, row), Message::NewRoute(route(*subnet, row)), PUT)
        });
        let mut failed = self.write(rows.collect()).await?;
        // Ours stands behind it already.
        failed.retain(|(_change, source)| source.raw_os_error() != Some(libc::EEXIST));
        failed.extend(self.write(self.twins(routes).await?).await?);
        match failed.into_iter().next() {
            Some((change, source)) => Err(Error::Apply { change: Box::new(change), source }),
            None => Ok(()),
        }
    }

    /// What drops those routes of a flanneld that stand beside ours. Only what is there: in place of one
    /// that is not, the kernel would drop one with a metric.
    async fn twins(&self, routes: &[(Subnet, IfIndex, Underlay)]) -> Result<Vec<Request>, Error> {
        let mut twins = Vec::new();
        let families: BTreeSet<Family> = routes.iter().map(|(block, ..)| block.family()).collect();
        for family in families {
            for message in self.main_routes(family).await? {
                let adopted = |(subnet, uplink, host): &&(Subnet, IfIndex, Underlay)| {
                    destination(&message) == Some(*subnet)
                        && device_of(&message) == Some(*uplink)
                        && gateway_of(&message) == Some(host.0)
                };
                let adopted = routes.iter().find(adopted).filter(|_| is_like_flannels(&message));
                twins.extend(adopted.map(|(subnet, uplink, host)| {
                    let row = Route::from(Hop::Via(*uplink, *host));
                    let twin = dropped_route(*subnet, row, RouteProtocol::Boot);
                    (Change::DropRoute(*subnet, row), Message::DelRoute(twin), 0)
                }));
            }
        }
        Ok(twins)
    }
}
