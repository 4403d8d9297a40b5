//! `twill kill`: a signal for the first process of a container.

use crate::commands::{Code, each};
use crate::container::{Store, end};
use crate::{Paths, output};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Signal, by name or number
    #[arg(short, long, default_value = "KILL")]
    pub signal: crate::signals::Signal,
    /// Names, ids or starts of ids
    #[arg(required = true)]
    pub containers: Vec<String>,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let store = Store::new(paths);
    Ok(each::container(&store, &args.containers, |container, name| {
        end::signal(&store, &container, args.signal)?;
        output::line(name);
        Ok(())
    }))
}
