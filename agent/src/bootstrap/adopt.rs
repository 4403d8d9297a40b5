//! What a flanneld left on this host that the first pass does not know by itself.

use twill_core::config::Backend;
use twill_core::device::IfIndex;
use twill_core::ids::{Subnet, Underlay};
use twill_core::lease::Listing;
use twill_core::subnet_env::SubnetEnv;
use twill_net::kernel::LocalRoute;
use twill_store::Store;

use super::Agent;
use crate::failure::Failure;
use crate::heritage::{Proof, left_behind};
use crate::memory;
use crate::setup::Setup;

/// Routes of a flanneld: to which block, by which uplink, to whom.
#[derive(Debug, Default)]
pub(super) struct Heritage(Vec<(Subnet, IfIndex, Underlay)>);

impl<S: Store> Agent<S> {
    /// Tells the routes apart that a flanneld left which served this very network here, with `host-gw` or
    /// `DirectRouting`, and the others. Nothing is written.
    pub(super) fn inherit(
        &self,
        (setup, published): (&Setup, Option<SubnetEnv>),
        listing: &Listing,
        mut routes: Vec<LocalRoute>,
    ) -> (Heritage, Vec<LocalRoute>) {
        let by_commands =
            |backend: &Backend| matches!(backend, Backend::Alloc | Backend::Extension(_));
        if setup.serving.all().any(|served| by_commands(&served.backend)) {
            // What packets go by is none of ours.
            return (Heritage::default(), routes);
        }
        // Once we have served it, containers were told by us.
        let served = self.flags.files.state_dir.join(memory::FILE).exists();
        let told = published.filter(|_env| !served);
        let mut left = Vec::new();
        for (range, side) in setup.config.ranges().zip(setup.sides()) {
            let proof = Proof { public_ip: side.public_ip, leases: &listing.leases, told };
            for route in left_behind(proof, range, (side.uplink.index, &routes)) {
                let row = |via| (route.block, side.uplink.index, Underlay(via));
                left.extend(route.via.map(row));
            }
        }
        let is_left = |route: &LocalRoute| {
            let same = |(block, uplink, Underlay(via)): &(_, _, _)| {
                (*block, Some(*uplink), Some(*via)) == (route.block, route.device, route.via)
            };
            route.like_flannels && left.iter().any(same)
        };
        routes.retain(|route| !is_left(route));
        (Heritage(left), routes)
    }

    /// Takes them over: the first pass keeps those to peers, and drops the others. Once nothing refuses the
    /// start any more: with our mark nobody would take them for a flanneld's again.
    pub(super) async fn adopt(&self, Heritage(left): Heritage) -> Result<(), Failure> {
        if !left.is_empty() {
            self.kernel.adopt(&left).await?;
            tracing::info!(routes = left.len(), "took over the routes that a flanneld left");
        }
        Ok(())
    }
}
