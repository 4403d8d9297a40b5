//! Routes with our mark, for whoever takes a host out of the network.

use netlink_packet_route::route::RouteMessage;
use nix::libc;
use twill_core::ids::Subnet;

use twill_core::ids::Family;

use super::tables::{destination, is_marked};
use super::{Kernel, unless};
use crate::Error;

/// A route that carries [`ROUTE_PROTOCOL`](crate::ROUTE_PROTOCOL), in whatever table.
#[derive(Clone, Debug)]
pub struct MarkedRoute(RouteMessage);

impl MarkedRoute {
    /// Where it leads; `None` if that is no block of IPv4 addresses.
    #[must_use]
    pub fn block(&self) -> Option<Subnet> {
        destination(&self.0)
    }
}

impl std::fmt::Display for MarkedRoute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match destination(&self.0) {
            Some(block) => write!(f, "route to {block}"),
            None => f.write_str("route"),
        }
    }
}

impl Kernel {
    /// All of them.
    pub async fn marked_routes(&self) -> Result<Vec<MarkedRoute>, Error> {
        let mut routes = self.all_routes(Family::V4).await?;
        routes.extend(self.all_routes(Family::V6).await?);
        Ok(routes.into_iter().filter(is_marked).map(MarkedRoute).collect())
    }

    /// One that went with its device in the meantime is a success.
    pub async fn drop_marked_route(&self, route: MarkedRoute) -> Result<(), Error> {
        let name = route.to_string();
        let deleted = self.handle.route().del(route.0).execute().await;
        let deleted = unless(deleted, &[libc::ESRCH, libc::ENODEV]);
        deleted.map_err(|source| Error::DropRoute { route: name, source })
    }
}
