//! Networks that this host was in and is not to be in any more: at the start what is left of them is taken
//! away. Their leases end by themselves.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use anyhow::Context;
use twill_core::config::Backend;
use twill_core::firewall::gate::Table;
use twill_core::ids::{Family, NetworkName, Subnet};
use twill_core::picture::Picture;
use twill_core::serving::{Served, Serving, is_tunnel};
use twill_net::Kernel;
use twill_net::blocking;
use twill_net::firewall::Programs;

use crate::blueprint::Whole;
use crate::datapath::{drop_lift, forget};
use crate::extension;
use crate::failure::Failure;
use crate::files;
use crate::flags::{Files, Flags};
use crate::lock::Lock;
use crate::memory;
use crate::publish;
use crate::setup::routes_into;
use crate::shelf::{self, Shelf};

/// What the agent keeps of a network in the state directory, what says whose a device is at the end.
pub(crate) const STATE: [&str; 6] =
    ["picture.refused", "mac", shelf::WIREGUARD, "extension", memory::FILE, "backends"];

/// One of them.
#[derive(Debug)]
pub(crate) struct Departed {
    name: Option<NetworkName>,
    flags: Flags,
}

/// Takes away what is left of networks that are not in the list. What cannot be is said, and tried again at
/// the next start.
///
/// Rules of the firewall go when it is written for the networks that are left.
pub(crate) async fn clear(flags: &Flags, (kernel, programs): (&Kernel, &Programs)) {
    for network in departed(flags) {
        let name = network.name.as_ref().map_or("without a name", NetworkName::as_str);
        match network.clear((kernel, programs)).await {
            Ok(()) => {
                tracing::info!(
                    network = name,
                    "this host is in that network no more, all of it is gone"
                );
            }
            Err(failure) => {
                let hint = failure.way_out();
                tracing::warn!(
                    network = name,
                    hint,
                    "something is left of a network: {}",
                    failure.line()
                );
            }
        }
    }
}

fn departed(flags: &Flags) -> Vec<Departed> {
    let known = flags.files.known_networks().into_iter().filter(|name| !flags.may_be_in(name));
    let mut departed: Vec<Departed> = known
        .map(|name| {
            let flags = flags.of(&name);
            Departed { name: Some(name), flags }
        })
        .collect();
    let state = &flags.files.state_dir;
    if flags.are_named() && STATE.iter().any(|file| state.join(file).exists()) {
        departed.push(Departed { name: None, flags: flags.clone() });
    }
    departed
}

impl Departed {
    /// That network, as its flags read.
    pub(crate) fn new(name: NetworkName, flags: Flags) -> Self {
        Self { name: Some(name), flags }
    }

    async fn clear(&self, (kernel, programs): (&Kernel, &Programs)) -> Result<(), Failure> {
        self.run_commands(kernel).await;
        self.drop_ways((kernel, programs)).await?;
        self.drop_files()
    }

    /// Its commands may have something to take away.
    pub(crate) async fn run_commands(&self, kernel: &Kernel) {
        if let Ok(whole) = Whole::from_disk(self.name.as_ref(), &self.flags, kernel).await {
            let record = self.flags.files.state_dir.join("extension");
            extension::shut_down(&whole.setup, &record).await;
        }
    }

    /// What packets went by, and the table of peers. Which those are is in the files.
    pub(crate) async fn drop_ways(
        &self,
        (kernel, programs): (&Kernel, &Programs),
    ) -> Result<(), Failure> {
        let serving = Shelf::new(&self.flags.files.state_dir).serving();
        self.drop_routes(kernel).await?;
        self.drop_devices(kernel, serving.as_ref()).await?;
        if let Some(mut keeper) = programs.gatekeeper(&Table::of(self.name.as_ref())) {
            keeper.ensure(&[]).await?;
        }
        Ok(())
    }

    /// What containers were told, and at last what says whose a device is.
    pub(crate) fn drop_files(&self) -> Result<(), Failure> {
        let Files { subnet_file, docker_options_file, state_dir, .. } = &self.flags.files;
        for file in [subnet_file, docker_options_file] {
            remove(file)?;
        }
        for file in STATE {
            remove(&state_dir.join(file))?;
        }
        if self.name.is_some() {
            // Somebody else's files keep it, and that is as it should be.
            drop(fs::remove_dir(state_dir));
        }
        Ok(())
    }

    /// Those without a device of its own: with one they go with it.
    async fn drop_routes(&self, kernel: &Kernel) -> Result<(), Failure> {
        let networks = self.networks();
        for route in kernel.marked_routes().await? {
            if route.block().is_some_and(|block| networks.iter().any(|range| range.overlaps(block)))
            {
                kernel.drop_marked_route(route).await?;
            }
        }
        // A lock that nobody holds says nothing any more.
        let known = Lock::devices()?;
        for name in networks.iter().map(|range| routes_into(*range)) {
            if known.contains(&name)
                && let Ok(lock) = Lock::device(&name)
            {
                lock.remove()?;
            }
        }
        Ok(())
    }

    /// As the picture tells, if it is still there, and as containers were told.
    fn networks(&self) -> BTreeSet<Subnet> {
        let bytes = fs::read(self.flags.files.state_dir.join(memory::FILE)).unwrap_or_default();
        let picture = Picture::parse(&bytes).ok();
        let known = picture.iter().flat_map(|picture| picture.config.networks());
        let told = publish::previous(&self.flags.files);
        let told = told.iter().flat_map(|env| env.blocks().map(|blocks| blocks.network));
        known.chain(told).collect()
    }

    /// Tunnel devices that nobody else serves.
    async fn drop_devices(
        &self,
        kernel: &Kernel,
        serving: Option<&Serving>,
    ) -> Result<(), Failure> {
        let links = blocking::Kernel::here().and_then(|mut kernel| kernel.links());
        let links = links.context("cannot list the interfaces")?;
        let devices = serving.into_iter().flat_map(Serving::all);
        let of_both =
            |served: &Served| [Family::V4, Family::V6].map(|family| served.device_of(family));
        let mut done = Ok(());
        for (served, device) in devices.flat_map(|served| of_both(served).map(|one| (served, one)))
        {
            let Some(device) = device else { continue };
            // Its programs are also at the uplink, whichever that was, and without the device.
            if let Backend::Udp(udp) = &served.backend {
                done = done.and(forget(kernel, udp.port).await);
            }
            let is_one = |link: &&blocking::Link| {
                link.name == device
                    && matches!(link.kind.as_deref(), Some("vxlan" | "tun" | "wireguard"))
            };
            if !is_tunnel(&device) || !links.iter().any(|link| is_one(&link)) {
                continue;
            }
            let Ok(lock) = Lock::device(&device) else { continue };
            drop_lift(kernel, &device).await?;
            kernel.drop_device(&device).await?;
            lock.remove()?;
        }
        done
    }
}

/// It, and what a write that was cut off left beside it. One that is not there is a success.
fn remove(path: &Path) -> Result<(), Failure> {
    if let Ok(half) = files::temporary(path) {
        remove_one(&half)?;
    }
    remove_one(path)
}

fn remove_one(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            let error = anyhow::Error::new(error);
            let error = error.context(format!("cannot remove {}", path.display()));
            Err(Failure::refused(error).hint("remove it by hand"))
        }
        _gone => Ok(()),
    }
}
