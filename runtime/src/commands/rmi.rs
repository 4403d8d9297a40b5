//! `twill rmi`: names of images, and images without names.

use crate::commands::Code;
use crate::error::Result;
use crate::image::{self, Digest, Removal, Removed, Store};
use crate::{Paths, container, events, output};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Take all names away, and the name of an image that a container uses
    #[arg(short, long)]
    pub force: bool,
    /// Names, ids or starts of ids
    #[arg(required = true)]
    pub images: Vec<String>,
}

/// Does it; goes on after a failure, so that the others are gone.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let store = Store::open(paths)?;
    let containers = container::Store::new(paths);
    let user_of = |image: &Digest| Ok(user_of(&containers, image)?);
    let removal = Removal { force: args.force, user_of: &user_of };
    let mut failed: Option<anyhow::Error> = None;
    for image in &args.images {
        let id = store.resolve(image).map(|image| image.id.to_string()).unwrap_or_default();
        match store.remove(image, removal) {
            Ok(removed) => {
                for one in &removed {
                    show(one);
                    events::removed(paths, &id, one);
                }
            }
            Err(error @ image::Error::Unknown { .. }) if args.force => {
                output::note(format_args!("twill: {error}"));
            }
            Err(error) => {
                if let Some(earlier) = failed.replace(error.into()) {
                    output::note(format_args!("twill: {earlier:#}"));
                }
            }
        }
    }
    failed.map_or(Ok(Code::OK), Err)
}

/// The container that uses an image.
pub fn user_of(containers: &container::Store<'_>, image: &Digest) -> Result<Option<String>> {
    let image = image.to_string();
    // One that cannot be read may be the one that has it.
    let all = containers.list_whole()?;
    let user = all.into_iter().find(|one| one.record.image.id == image);
    Ok(user.map(|user| user.record.name))
}

fn show(removed: &Removed) {
    match removed {
        Removed::Untagged(name) => output::line(format_args!("Untagged: {name}")),
        Removed::Deleted { id, .. } => output::line(format_args!("Deleted: {id}")),
    }
}
