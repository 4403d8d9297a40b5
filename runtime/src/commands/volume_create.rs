//! `twill volume create`.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::commands::Code;
use crate::container::id;
use crate::error::Error;
use crate::volume::{Backing, Volume, Volumes, check_name};
use crate::{Paths, output};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  twill volume create data
  twill volume create --label tier=db data
  twill run -v data:/var/lib/data busybox …    makes it as well
  twill volume create -o type=none -o o=bind -o device=/srv/data data
                                               a directory of the host by a name
  twill volume create -o type=tmpfs -o device=tmpfs -o o=size=100m,uid=33 cache
                                               memory, as long as a container has it")]
pub struct Args {
    /// Label, for filters and for people
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub label: Vec<String>,
    /// What it is made of: `type`, `device` and `o`
    #[arg(short = 'o', long, value_name = "NAME=VALUE")]
    pub opt: Vec<String>,
    /// What keeps it: local
    #[arg(short, long, value_parser = ["local"], default_value = "local", hide_default_value = true)]
    pub driver: String,
    /// Its name; made up if not given
    pub name: Option<String>,
    /// The same, as it was once written
    #[arg(long = "name", value_name = "NAME", conflicts_with = "name", hide = true)]
    pub flag: Option<String>,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let wanted = args.name.as_ref().or(args.flag.as_ref());
    if let Some(name) = wanted {
        check_name(name).map_err(Error::Usage)?;
    }
    let volumes = Volumes::new(paths);
    let _hold = volumes.hold()?;
    let name = wanted.cloned().unwrap_or_else(id::random);
    let anonymous = wanted.is_none();
    let pair = |text: &String| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        (name.to_owned(), value.to_owned())
    };
    let labels = args.label.iter().map(pair).collect();
    let options: BTreeMap<String, String> = args.opt.iter().map(pair).collect();
    Backing::of(&options).map_err(|wrong| Error::Usage(format!("create {name}: {wrong}")))?;
    let volume =
        Volume { name: name.clone(), created: Timestamp::now(), labels, anonymous, options };
    volumes.ensure(&volume)?;
    output::line(name);
    Ok(Code::OK)
}
