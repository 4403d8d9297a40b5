//! `twill stop`: ask, wait, then force.

use std::time::Duration;

use crate::commands::{Code, each};
use crate::container::{Store, end};
use crate::{Paths, output};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Seconds to wait before the container is killed; -1 waits for ever
    #[arg(
        short,
        long,
        visible_alias = "timeout",
        value_name = "SECONDS",
        default_value_t = 10,
        allow_negative_numbers = true
    )]
    pub time: i64,
    /// Names, ids or starts of ids
    #[arg(required = true)]
    pub containers: Vec<String>,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let store = Store::new(paths);
    // -1 waits for ever.
    let grace = u64::try_from(args.time).ok().map(Duration::from_secs);
    Ok(each::container(&store, &args.containers, |container, name| {
        end::stop(&store, &container, grace)?;
        output::line(name);
        Ok(())
    }))
}
