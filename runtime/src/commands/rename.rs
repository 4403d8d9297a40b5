//! `twill rename`: another name for a container.

use crate::Paths;
use crate::commands::{Code, each};
use crate::container::Store;

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:
  twill rename web web-old        it goes on under the new name; the old one is free")]
pub struct Args {
    /// The container, by name, id or the start of its id
    pub container: String,
    /// Its new name
    pub name: String,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let store = Store::new(paths);
    let container = each::one(&store, &args.container)?;
    let name = args.name.strip_prefix('/').unwrap_or(&args.name);
    store.rename(&container.record.id, name)?;
    Ok(Code::OK)
}
