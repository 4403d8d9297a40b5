//! `twill load`: images from an archive of `docker save`, `podman save` or an OCI layout.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use super::progress;
use crate::commands::Code;
use crate::image::{self, Devices, Source, Store};
use crate::{Error, Paths, events, output};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Read this archive, plain or compressed by gzip or zstd, instead of standard input
    #[arg(short, long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Show no progress; without a terminal there is none anyway
    #[arg(short, long)]
    pub quiet: bool,
    /// Take device nodes too, which the archive has no need of unless you know better
    #[arg(long)]
    pub allow_devices: bool,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let source = source(args.input.as_deref())?;
    let source = if args.quiet { source } else { progress::show(source) };
    let store = Store::open(paths)?;
    for image in store.load(source, devices(args.allow_devices))? {
        let name = image.names.first().map_or_else(String::new, ToString::to_string);
        events::image(paths, &image.id.to_string(), "load", &name);
        output::line(image);
    }
    Ok(Code::OK)
}

/// The file, or standard input for none and for `-`.
pub(super) fn source(file: Option<&Path>) -> anyhow::Result<Source> {
    match file.filter(|file| *file != Path::new("-")) {
        Some(file) => Ok(image::open(file)?),
        None if io::stdin().is_terminal() => {
            Err(Error::Usage("there is no archive on standard input, which is a terminal".into())
                .into())
        }
        None => Ok(Source::stream("standard input", io::stdin())),
    }
}

/// What the option means.
pub(super) fn devices(allow: bool) -> Devices {
    if allow { Devices::All } else { Devices::Standard }
}
