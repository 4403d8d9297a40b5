//! `twill tag`: another name for an image.

use crate::commands::Code;
use crate::image::Store;
use crate::{Paths, events};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Name, id or start of an id
    pub image: String,
    /// The name that it gets; an image that has it already loses it
    #[arg(value_name = "NAME[:TAG]")]
    pub name: String,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let store = Store::open(paths)?;
    store.tag(&args.image, &args.name)?;
    events::image(paths, &store.resolve(&args.name)?.id.to_string(), "tag", &args.name);
    Ok(Code::OK)
}
