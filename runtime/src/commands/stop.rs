//! `twill stop`: ask, wait, then force.

use crate::Paths;
use crate::commands::Code;

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
    anyhow::bail!("stop is not built yet: {args:?} {paths:?}")
}
