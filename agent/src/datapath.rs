//! The tunnel devices, as many as there are backends to serve, and the threads behind those of `udp`.

mod shortcut;

pub(crate) use shortcut::{drop_lift, forget};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::sync::Notify;
use twill_core::config::Backend;
use twill_core::device::{DeviceSpec, IfIndex};
use twill_core::extension::{Extension, Hosts};
use twill_core::firewall::gate::{Accept, Sources};
use twill_core::ids::Family;
use twill_core::peers::Peer;
use twill_core::plan::{finishing_peers, tunnel_peers};
use twill_core::serving::{Served, Way};
use twill_net::{Kernel, sysctl};
use twill_tunnel::{Counters, Device, Endpoint, Tunnel, check_port};

use crate::extension::{Ends, Runner, order};
use crate::failure::Failure;
use crate::setup::Half;
use crate::trouble::Trouble;
use shortcut::{Place, Tried, tell};

/// What carries packets between this host and the others. Dropping it stops the threads of `udp`
/// and leaves the devices.
#[derive(Debug, Default)]
pub(crate) struct DataPaths {
    paths: BTreeMap<Way, Path>,
    peers: Vec<Peer>,
    lost: Arc<Lost>,
    /// The commands of an `extension`, and whom they have to reach.
    extension: Option<Runner>,
    hosts: Hosts,
    ends: Ends,
    /// Those of `udp` that were served; none are known before the first look.
    ports: Option<BTreeSet<u16>>,
    /// Of taking the shortcut away of those that are served no more.
    trouble: Trouble,
    /// Had a setting of the kernel to be switched since somebody asked?
    switched: bool,
}

/// One device.
#[derive(Debug)]
struct Path {
    name: String,
    index: IfIndex,
    /// Only `udp` has one.
    tunnel: Option<(Endpoint, Tunnel)>,
    gone: Arc<AtomicBool>,
    /// How it went to have the kernel carry what it can.
    shortcut: Tried,
}

/// What stands after a look at everything.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) devices: BTreeMap<Way, IfIndex>,
    /// Why the configuration's own backend does not stand yet, if it never did.
    pub(crate) unready: Option<Failure>,
}

/// Told by the tunnels' threads.
#[derive(Debug, Default)]
struct Lost {
    wake: Notify,
}

impl DataPaths {
    /// None yet.
    pub(crate) fn new(ends: Ends) -> Self {
        Self { ends, ..Self::default() }
    }

    /// For `extension`: what its commands are told, before they are begun.
    pub(crate) fn reach(&mut self, hosts: Hosts) {
        if let Some(runner) = &self.extension {
            runner.reach(hosts.clone());
        }
        self.hosts = hosts;
    }

    /// Makes what is missing, mends what differs, and takes away what is served no more; what is right
    /// is not touched.
    ///
    /// Fails if a way cannot be mended that stood before: rows must stay as they are until it does.
    pub(crate) async fn ensure(
        &mut self,
        kernel: &Kernel,
        setup: &Half,
    ) -> Result<Standing, Failure> {
        let mut unready = None;
        // Of a way that came back the newest options hold.
        let served: BTreeMap<Way, &Served> =
            setup.serving.all().map(|served| (served.backend.way(), served)).collect();
        self.take_away_all_but(&served, kernel).await?;
        if setup.first {
            // Programs are of IPv4: in a network without it none may be left. Rows of peers do not wait for it.
            let served = if setup.family() == Family::V4 { &served } else { &BTreeMap::new() };
            let forgotten = self.forget_all_but(served, kernel).await;
            tell(&mut self.trouble, forgotten);
        }
        self.make_room(&served, (kernel, setup)).await?;
        let current = setup.serving.current().backend.way();
        for (way, served) in served {
            let stood = self.paths.contains_key(&way);
            match self.stand(kernel, (way, served), setup).await {
                Ok(()) => {}
                Err(failure) if stood => return Err(failure),
                Err(failure) if way == current => unready = Some(failure),
                // Nobody waits for a way that is on its way out; it is tried again.
                Err(failure) => {
                    tracing::debug!("cannot serve {way} any more: {}", failure.line());
                }
            }
        }
        self.switched |= match setup.family() {
            Family::V4 => sysctl::ensure_forwarding()?,
            Family::V6 => sysctl::ensure_ipv6_forwarding(&[&setup.uplink.name])?,
        };
        if setup.takes_plain_packets() {
            self.ensure_settings(&setup.uplink.name, setup.family())?;
        }
        let devices = self.paths.iter().map(|(way, path)| (*way, path.index)).collect();
        Ok(Standing { devices, unready })
    }

    /// For `udp`: where each block's packets go. For `vxlan` the kernel's rows say it.
    pub(crate) fn set_peers(&mut self, peers: &[Peer]) {
        if self.peers != peers {
            peers.clone_into(&mut self.peers);
            for (_endpoint, tunnel) in self.paths.values().filter_map(|path| path.tunnel.as_ref()) {
                tunnel.set_peers_with(tunnel_peers(peers), finishing_peers(peers));
            }
        }
    }

    /// Had a setting of the kernel to be switched since this was asked last?
    pub(crate) fn switched(&mut self) -> bool {
        std::mem::take(&mut self.switched)
    }

    /// The tunnels that run, by their devices, with what became of their packets.
    pub(crate) fn tunnels(&self) -> Vec<(String, Arc<Counters>)> {
        let counters = |path: &Path| {
            path.tunnel.as_ref().map(|(_endpoint, tunnel)| (path.name.clone(), tunnel.counters()))
        };
        self.paths.values().filter_map(counters).collect()
    }

    /// Returns when a tunnel says that its device is gone, or when commands stand or do not.
    pub(crate) async fn lost(&self) {
        tokio::select! {
            () = self.lost.wake.notified() => {}
            () = self.ends.wake.notified() => {}
        }
    }

    async fn extend(&mut self, commands: &Extension, setup: &Half) -> Result<(), Failure> {
        let order = order(commands, setup);
        let runner = match self.extension.take().filter(|runner| runner.follows(&order)) {
            Some(runner) => runner,
            None => Runner::start(order, self.hosts.clone(), self.ends.clone()),
        };
        let runner = self.extension.insert(runner);
        if self.paths.is_empty() {
            // Nobody has to wait for it but the start.
            runner.begun().await;
        }
        runner.outcome()
    }

    async fn stand(
        &mut self,
        kernel: &Kernel,
        (way, served): (Way, &Served),
        setup: &Half,
    ) -> Result<(), Failure> {
        if let Backend::Extension(commands) = &served.backend {
            return self.extend(commands, setup).await;
        }
        let Some(spec) = setup.device(served)? else { return Ok(()) };
        let endpoint = endpoint(&served.backend, (setup, &spec));
        let before = self.paths.get(&way);
        if before.is_some_and(|path| path.gone.load(Relaxed)) {
            tracing::warn!(device = spec.name(), "the tunnel device is gone, making it again");
        }
        let runs = before.is_some_and(|path| {
            let same = path.tunnel.as_ref().map(|(endpoint, _)| *endpoint) == endpoint;
            same && !path.gone.load(Relaxed)
        });
        if let (false, Some(endpoint)) = (runs, endpoint) {
            // The threads of the one before hold device and port.
            if let Some(path) = self.paths.get_mut(&way)
                && path.stop()
            {
                drop_lift(kernel, &path.name).await?;
            }
            // An address that is not here is found out before a device comes and goes.
            check_port(endpoint.underlay, endpoint.port)?;
            let device = Device::open(
                spec.name(),
                setup.udp.queues.unwrap_or_else(Device::queues_for_this_machine),
            )?
            .on(setup.udp.cpus);
            let index = kernel.ensure_device(&spec).await?;
            let path = self.start(device, endpoint, index)?;
            self.paths.insert(way, path);
        } else {
            let index = match (kernel.ensure_device(&spec).await, before) {
                (Err(twill_net::Error::NoInterface { .. }), Some(path)) => {
                    // Its threads go on, under whatever name.
                    kernel.restore_name(path.index, spec.name()).await?;
                    kernel.ensure_device(&spec).await?
                }
                (index, _before) => index?,
            };
            let (name, gone) = (spec.name().to_owned(), Arc::default());
            let shortcut = Tried::default();
            let path = Path { name, index, tunnel: None, gone, shortcut };
            self.paths.entry(way).or_insert(path).index = index;
        }
        if let Some(path) = self.paths.get_mut(&way) {
            path.shorten(kernel, setup).await;
        }
        self.ensure_settings(spec.name(), setup.family())
    }

    /// IPv6 has one switch for all interfaces, and no check of sources.
    fn ensure_settings(&mut self, device: &str, family: Family) -> Result<(), Failure> {
        if family == Family::V4 {
            self.switched |= sysctl::ensure_forwarding_from(device)?;
            self.switched |= sysctl::ensure_loose_source_check(device)?;
        }
        Ok(())
    }

    async fn make_room(
        &self,
        served: &BTreeMap<Way, &Served>,
        (kernel, setup): (&Kernel, &Half),
    ) -> Result<(), Failure> {
        let specs = served.values().filter_map(|served| setup.device(served).ok().flatten());
        Ok(kernel.make_room(&specs.collect::<Vec<_>>()).await?)
    }

    async fn take_away_all_but(
        &mut self,
        served: &BTreeMap<Way, &Served>,
        kernel: &Kernel,
    ) -> Result<(), Failure> {
        if !served.contains_key(&Way::Extension)
            && let Some(runner) = self.extension.take()
        {
            tracing::info!("nobody uses the commands any more");
            runner.retire();
        }
        let gone: Vec<Way> =
            self.paths.keys().filter(|way| !served.contains_key(*way)).copied().collect();
        for way in gone {
            let Some(path) = self.paths.get_mut(&way) else { continue };
            if path.stop() {
                drop_lift(kernel, &path.name).await?;
            }
            kernel.drop_device(&path.name).await?;
            tracing::info!(device = path.name, "nobody uses {way} any more, its device is gone");
            self.paths.remove(&way);
        }
        Ok(())
    }

    /// The shortcut of what is served no more goes, whoever put it in.
    async fn forget_all_but(
        &mut self,
        served: &BTreeMap<Way, &Served>,
        kernel: &Kernel,
    ) -> Result<(), Failure> {
        let port = |way: &Way| if let Way::Udp(port) = way { Some(*port) } else { None };
        let ports: BTreeSet<u16> = served.keys().filter_map(port).collect();
        let before = match &self.ports {
            Some(before) => before.clone(),
            None => shortcut::orphans(kernel).await?,
        };
        for port in before.difference(&ports) {
            forget(kernel, *port).await?;
        }
        self.ports = Some(ports);
        Ok(())
    }

    fn start(&self, device: Device, endpoint: Endpoint, index: IfIndex) -> Result<Path, Failure> {
        let (lost, gone) = (Arc::clone(&self.lost), Arc::new(AtomicBool::new(false)));
        let (name, flag) = (device.name().to_owned(), Arc::clone(&gone));
        let tunnel = Tunnel::start(device, endpoint, move |error| {
            tracing::debug!(%error, "the tunnel ended");
            flag.store(true, Relaxed);
            lost.wake.notify_one();
        })?;
        tunnel.set_peers_with(tunnel_peers(&self.peers), finishing_peers(&self.peers));
        tracing::debug!(address = %endpoint.underlay, port = endpoint.port, "the tunnel carries packets");
        let shortcut = Tried::default();
        Ok(Path { name, index, tunnel: Some((endpoint, tunnel)), gone, shortcut })
    }
}

impl Path {
    /// Ends its threads, and has the kernel carry nothing; tells whether there was anything.
    fn stop(&mut self) -> bool {
        let Some((_endpoint, tunnel)) = self.tunnel.take() else { return false };
        tunnel.drop_shortcut();
        self.shortcut = Tried::default();
        true
    }

    async fn shorten(&mut self, kernel: &Kernel, setup: &Half) {
        let Some((endpoint, tunnel)) = &self.tunnel else { return };
        let place = Place { device: (&self.name, self.index), endpoint, tunnel };
        self.shortcut.ensure(place, (kernel, setup)).await;
    }
}

fn endpoint(backend: &Backend, (setup, spec): (&Half, &DeviceSpec)) -> Option<Endpoint> {
    match backend {
        Backend::Vxlan(_)
        | Backend::Wireguard(_)
        | Backend::HostGw
        | Backend::Alloc
        | Backend::Extension(_) => None,
        Backend::Udp(udp) => Some(Endpoint {
            underlay: setup.uplink.address.0,
            port: udp.port,
            subnet: setup.subnet.into(),
            mtu: spec.mtu(),
            accept: match setup.accept {
                Accept::Anyone => twill_tunnel::Accept::Anyone,
                Accept::Peers(Sources::Own) => twill_tunnel::Accept::Peers,
                Accept::Peers(Sources::OwnAndOutside) => {
                    twill_tunnel::Accept::PeersAndOutside(setup.config.network.into())
                }
            },
            marks: setup.udp.marks.into(),
        }),
    }
}
