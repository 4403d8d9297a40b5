//! The tunnel device and, for `udp`, the threads behind it.

use std::sync::Arc;

use tokio::sync::Notify;
use twill_core::config::Backend;
use twill_core::device::{DeviceSpec, IfIndex};
use twill_core::ids::Underlay;
use twill_core::peers::Peer;
use twill_core::plan::tunnel_peers;
use twill_net::{Kernel, sysctl};
use twill_tunnel::{Device, Endpoint, Tunnel};

use crate::bootstrap::Membership;
use crate::failure::Failure;

/// What carries packets between this host and the others. Dropping it stops the threads of `udp`
/// and leaves the device.
#[derive(Debug)]
pub(crate) struct DataPath {
    spec: DeviceSpec,
    /// Only `udp` has one.
    endpoint: Option<Endpoint>,
    tunnel: Option<Tunnel>,
    peers: Vec<Peer>,
    lost: Arc<Lost>,
}

/// Told by the tunnel's thread.
#[derive(Debug, Default)]
struct Lost {
    flag: std::sync::atomic::AtomicBool,
    wake: Notify,
}

impl DataPath {
    /// Nothing is made before [`Self::ensure`].
    pub(crate) fn new(membership: &Membership) -> Self {
        let endpoint = match &membership.wish.config.backend {
            Backend::Vxlan(_) => None,
            Backend::Udp(udp) => Some(Endpoint {
                underlay: membership.uplink.address,
                port: udp.port,
                subnet: membership.subnet(),
                mtu: membership.spec.mtu(),
            }),
        };
        let (spec, lost) = (membership.spec.clone(), Arc::default());
        Self { spec, endpoint, tunnel: None, peers: Vec::new(), lost }
    }

    /// Makes what is missing and mends what differs; what is right is not touched.
    pub(crate) async fn ensure(&mut self, kernel: &Kernel) -> Result<IfIndex, Failure> {
        use std::sync::atomic::Ordering::Relaxed;
        if self.lost.flag.swap(false, Relaxed) {
            tracing::warn!(device = self.spec.name(), "the tunnel device is gone, making it again");
            self.tunnel = None;
        }
        let index = match self.endpoint {
            None => kernel.ensure_device(&self.spec).await?,
            Some(_) if self.tunnel.is_some() => kernel.ensure_device(&self.spec).await?,
            Some(endpoint) => {
                let device = Device::open(self.spec.name())?;
                let index = kernel.ensure_device(&self.spec).await?;
                self.tunnel = Some(self.start(device, endpoint)?);
                index
            }
        };
        sysctl::ensure_forwarding_from(self.spec.name())?;
        sysctl::ensure_loose_source_check(self.spec.name())?;
        Ok(index)
    }

    /// For `udp`: where each block's packets go. For `vxlan` the kernel's rows say it.
    pub(crate) fn set_peers(&mut self, peers: &[Peer]) {
        if self.peers != peers {
            peers.clone_into(&mut self.peers);
            if let Some(tunnel) = &self.tunnel {
                tunnel.set_peers(tunnel_peers(peers));
            }
        }
    }

    /// Returns when the tunnel says that its device is gone.
    pub(crate) async fn lost(&self) {
        self.lost.wake.notified().await;
    }

    fn start(&self, device: Device, endpoint: Endpoint) -> Result<Tunnel, Failure> {
        let lost = Arc::clone(&self.lost);
        let tunnel = Tunnel::start(device, endpoint, move |error| {
            tracing::debug!(%error, "the tunnel ended");
            lost.flag.store(true, std::sync::atomic::Ordering::Relaxed);
            lost.wake.notify_one();
        })?;
        tunnel.set_peers(tunnel_peers(&self.peers));
        let Underlay(address) = endpoint.underlay;
        tracing::debug!(%address, port = endpoint.port, "the tunnel carries packets");
        Ok(tunnel)
    }
}
