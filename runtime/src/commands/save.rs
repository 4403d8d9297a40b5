//! `twill save`: images as an archive, for `load` here, in Docker, podman or skopeo.

use std::path::PathBuf;

use super::export::Target;
use crate::commands::Code;
use crate::image::Store;
use crate::{Paths, events};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  twill save -o web.tar web:1.0
  twill save web db | ssh other twill load

An image keeps its id, here, in Docker, podman and skopeo.")]
pub struct Args {
    /// Write into a file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Names, ids or starts of ids
    #[arg(required = true)]
    pub images: Vec<String>,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let store = Store::open(paths)?;
    for name in &args.images {
        store.resolve(name)?;
    }
    let target = Target::new(args.output.as_deref())?;
    target.fill(|out| anyhow::Ok(store.save(&args.images, out)?))?;
    for name in &args.images {
        if let Ok(image) = store.resolve(name) {
            events::image(paths, &image.id.to_string(), "save", name);
        }
    }
    Ok(Code::OK)
}
