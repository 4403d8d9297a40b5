//! `twill images`: what is in the store.

use jiff::Timestamp;

use crate::commands::Code;
use crate::image::{Reference, Store};
use crate::listing::images::{self, LISTING, Row, WITH_DIGESTS};
use crate::listing::{FORMAT_HELP, Filters, Format};
use crate::template::Data;
use crate::{Paths, output, usage};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[command(after_help = "Examples:
  twill images                              all of them
  twill images busybox                      every tag of one
  twill images -q -f dangling=true          ids of those without a name
  twill images --format '{{.Repository}}:{{.Tag}} {{.Size}}'

Fields: .ID .Repository .Tag .Digest .CreatedSince .CreatedAt .Size
Filters: dangling, label, reference (with * and ?), before and since (an image)")]
pub struct Args {
    /// Show all images; there are no hidden ones, so this changes nothing
    #[arg(short, long)]
    pub all: bool,
    /// Print the ids only
    #[arg(short, long)]
    pub quiet: bool,
    /// Print ids in full
    #[arg(long)]
    pub no_trunc: bool,
    /// Show the column of digests
    #[arg(long)]
    pub digests: bool,
    /// Only those that fit
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "table", long_help = FORMAT_HELP)]
    pub format: Format,
    /// Only images of this name; without a tag, of any tag
    #[arg(value_name = "NAME[:TAG]")]
    pub name: Option<String>,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let mut wishes = args.filter.clone();
    let pattern = args.name.as_deref().filter(|name| name.contains(['*', '?']));
    wishes.extend(pattern.map(|pattern| format!("reference={pattern}")));
    let name = args.name.as_deref().filter(|_| pattern.is_none());
    let wanted = name.map(Wanted::parse).transpose()?;
    let filters = Filters::parse(&wishes, &images::FILTERS)?;
    if let Some(wish) = filters.values("dangling").find(|wish| usage::truth(wish).is_err()) {
        return Err(crate::Error::InvalidFilter(format!("dangling=[{wish}]")).into());
    }
    let store = Store::open(paths)?;
    let images = store.list()?;
    let made = |key| {
        let made = filters.values(key).map(|name| Ok(store.resolve(name)?.created));
        made.collect::<anyhow::Result<Vec<_>>>()
    };
    let (before, since) = (made("before")?.into_iter().min(), made("since")?.into_iter().max());
    let mut rows: Vec<Row<'_>> = images.iter().flat_map(images::rows).collect();
    rows.retain(|row| {
        wanted.as_ref().is_none_or(|wanted| wanted.fits(row)) && row.fits(&filters, (before, since))
    });
    if args.quiet && !args.format.is_own() {
        let mut ids: Vec<String> = rows.iter().map(|row| row.id(args.no_trunc)).collect();
        ids.dedup();
        ids.iter().for_each(output::line);
        return Ok(Code::OK);
    }
    let now = Timestamp::now();
    let listing = if args.digests { WITH_DIGESTS } else { LISTING };
    let rows: Vec<Data> = rows.iter().map(|row| row.data(now, args.no_trunc)).collect();
    listing.print(&args.format, &rows)?;
    Ok(Code::OK)
}

/// What the user asks for.
struct Wanted {
    name: Reference,
    any_tag: bool,
}

impl Wanted {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let name: Reference = text
            .parse()
            .map_err(|source| crate::image::Error::Name { text: text.to_owned(), source })?;
        // A colon before the last slash belongs to a registry's port.
        let any_tag = !text.rsplit('/').next().is_some_and(|last| last.contains(':'));
        Ok(Self { name, any_tag })
    }

    fn fits(&self, row: &Row<'_>) -> bool {
        row.repository() == self.name.repository()
            && (self.any_tag || Some(row.tag()) == self.name.tag())
    }
}
