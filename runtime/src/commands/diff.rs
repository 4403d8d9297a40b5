//! `twill diff`: what a container changed of its image's files.

use crate::commands::{Code, each};
use crate::container::{Store, changes};
use crate::{Paths, output};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Each line is a path and what became of it: A was added, C was changed, D was deleted."
)]
pub struct Args {
    /// The container, by name, id or the start of its id
    pub container: String,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let container = each::one(&Store::new(paths), &args.container)?;
    for change in changes::list(paths, &container.record)? {
        // A name that an image or a container made up reaches no terminal as it is.
        let path = change.path.to_string_lossy();
        let path: String = path
            .chars()
            .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
            .collect();
        output::line(format_args!("{} {path}", change.kind.letter()));
    }
    Ok(Code::OK)
}
