//! `twill import`: an image from the plain files of a root file system.

use std::path::PathBuf;

use super::{load, progress};
use crate::commands::Code;
use crate::image::{ImportOptions, Store};
use crate::{Paths, events, output};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Apply a Dockerfile instruction, as in `-c 'CMD ["sh"]'`; may be repeated
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    pub changes: Vec<String>,
    /// Put this into the history of the image
    #[arg(short, long, value_name = "TEXT")]
    pub message: Option<String>,
    /// Take device nodes other than those that every container has
    #[arg(long)]
    pub allow_devices: bool,
    /// A tar archive, plain or compressed by gzip or zstd; `-` for standard input
    pub file: PathBuf,
    /// The name of the image
    #[arg(value_name = "NAME[:TAG]")]
    pub reference: Option<String>,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let source = progress::show(load::source(Some(&args.file))?);
    let options = ImportOptions {
        reference: args.reference.clone(),
        changes: args.changes.clone(),
        message: args.message.clone(),
        devices: load::devices(args.allow_devices),
    };
    let id = Store::open(paths)?.import(source, &options)?;
    events::image(paths, &id.to_string(), "import", args.reference.as_deref().unwrap_or_default());
    output::line(id);
    Ok(Code::OK)
}
