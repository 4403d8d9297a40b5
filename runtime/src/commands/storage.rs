//! The options of `run` and `create` about what a container sees of the host's files.

use crate::error::{Error, Result};
use crate::mount::{self, Mount};

/// They may all be repeated.
#[derive(Clone, Debug, Default, clap::Args)]
// `run` has a group of this name, too.
#[group(skip)]
pub struct Args {
    /// Mount a volume, made if there is none, or a path of the host; without a source, a volume that goes with
    /// `rm -v`
    #[arg(short, long, value_name = "[SOURCE:]TARGET[:MODE]", value_parser = mount::parse_volume)]
    pub volume: Vec<Mount>,
    /// Mount something: type=bind|volume|tmpfs, source, target, readonly, …
    #[arg(long, value_name = "KEY=VALUE,…", value_parser = mount::parse_mount)]
    pub mount: Vec<Mount>,
    /// Mount memory
    #[arg(long, value_name = "TARGET[:OPTIONS]", value_parser = mount::parse_tmpfs)]
    pub tmpfs: Vec<Mount>,
}

impl Args {
    /// For the library.
    pub fn mounts(&self) -> Result<Vec<Mount>> {
        let all = [&self.volume, &self.mount, &self.tmpfs].map(|mounts| mounts.iter().cloned());
        mount::ordered(all.into_iter().flatten().collect()).map_err(Error::Usage)
    }
}
