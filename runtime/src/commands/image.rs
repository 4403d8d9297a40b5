//! The commands for images, by themselves and as `twill image …`.

use clap::Subcommand;

use super::{history, image_prune, images, import, inspect, load, rmi, save, tag};
use crate::Paths;
use crate::commands::Code;

/// What is called the same in both places.
#[derive(Debug, Subcommand)]
pub enum Common {
    /// Take in images from an archive of `docker save` or an OCI layout
    Load(load::Args),
    /// Make an image of the plain files of a root file system
    Import(import::Args),
    /// Write images as an archive for `load`
    Save(save::Args),
    /// Give an image another name
    Tag(tag::Args),
    /// Show how an image was made
    History(history::Args),
}

/// `twill image …`.
#[derive(Debug, Subcommand)]
pub enum Group {
    /// List images
    #[command(visible_alias = "list")]
    Ls(images::Args),
    /// Show all that is known about images, as JSON
    Inspect(inspect::Args),
    /// Remove images
    #[command(visible_alias = "remove")]
    Rm(rmi::Args),
    /// Remove images that have no name, or that no container uses
    Prune(image_prune::Args),
    /// What is called the same without `image`.
    #[command(flatten)]
    Common(Common),
}

/// Does it.
pub fn common(command: Common, paths: &Paths) -> anyhow::Result<Code> {
    match command {
        Common::Load(args) => load::run(&args, paths),
        Common::Import(args) => import::run(&args, paths),
        Common::Save(args) => save::run(&args, paths),
        Common::Tag(args) => tag::run(&args, paths),
        Common::History(args) => history::run(&args, paths),
    }
}

/// Does it.
pub fn group(command: Group, paths: &Paths) -> anyhow::Result<Code> {
    match command {
        Group::Ls(args) => images::run(&args, paths),
        Group::Inspect(args) => {
            let r#type = Some(inspect::Kind::Image);
            inspect::run(&inspect::Args { r#type, ..args }, paths)
        }
        Group::Rm(args) => rmi::run(&args, paths),
        Group::Prune(args) => image_prune::run(&args, paths),
        Group::Common(command) => common(command, paths),
    }
}
