//! `twill ps`: which containers there are and how they are.

use jiff::Timestamp;

use crate::commands::{Code, each};
use crate::container::{Container, Store, reap, size};
use crate::listing::containers::{self, LISTING, Size, Style, WITH_SIZES, Wanted};
use crate::listing::{FORMAT_HELP, Filters, Format};
use crate::template::Data;
use crate::{Paths, image, output};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[command(after_help = "Examples:
  twill ps -a                                   those that have ended, too
  twill ps -q -f status=exited                  ids of those that have ended
  twill ps -f name=web -f label=tier=front      each key has to fit, one value of each key
  twill ps --format '{{.Names}}: {{.Status}}'   as a template says
  twill ps --format 'table {{.ID}}\\t{{.Label \"tier\"}}'
  twill ps -l                                   the one that was made last

Fields: .ID .Names .Image .Command .CreatedAt .RunningFor .State .Status .Ports .Networks .Labels
.Label \"NAME\" .Mounts .LocalVolumes .Size
Filters: id, name (regular expressions), label, status (created, running, paused, exited, restarting,
dead), exited (a code), ancestor (an image), before and since (a container), network, volume, health")]
pub struct Args {
    /// Also those that do not run
    #[arg(short, long)]
    pub all: bool,
    /// Only ids
    #[arg(short, long)]
    pub quiet: bool,
    /// Cut nothing short
    #[arg(long)]
    pub no_trunc: bool,
    /// The one that was made last, running or not
    #[arg(short, long)]
    pub latest: bool,
    /// So many that were made last, running or not
    #[arg(short = 'n', long, value_name = "NUMBER", allow_negative_numbers = true, default_value_t = -1, hide_default_value = true)]
    pub last: i64,
    /// Show what each has written, and that with its image
    #[arg(short, long)]
    pub size: bool,
    /// Only those that fit
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "table", long_help = FORMAT_HELP)]
    pub format: Format,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let store = Store::new(paths);
    let wanted = wanted(&store, &args.filter)?;
    let mut all = reap::settle_all(&store)?;
    let last =
        usize::try_from(if args.latest { 1 } else { args.last }).ok().filter(|last| *last > 0);
    let runs = |one: &Container| one.state.status.is_alive();
    let everyone = args.all || last.is_some() || wanted.asks_for_all();
    all.retain(|container| (everyone || runs(container)) && wanted.fits(container));
    all.truncate(last.unwrap_or(usize::MAX));
    if args.quiet && !args.format.is_own() {
        for Container { record, .. } in &all {
            output::line(if args.no_trunc { &record.id } else { record.short_id() });
        }
        return Ok(Code::OK);
    }
    let sizes = args.size || args.format.mentions("Size");
    let listing = if args.size { WITH_SIZES } else { LISTING };
    listing.print(&args.format, &rows(paths, &all, (sizes, args.no_trunc)))?;
    Ok(Code::OK)
}

fn rows(paths: &Paths, all: &[Container], how: (bool, bool)) -> Vec<Data> {
    let (sizes, whole) = how;
    let style = Style { now: Timestamp::now(), whole };
    let mut rows = Vec::new();
    for container in all {
        let size = if sizes { size::of(paths, &container.record) } else { Ok(Size::default()) };
        // One that cannot be counted hides none of the others.
        let size = size.unwrap_or_else(|error| {
            each::complain(&error);
            Size::default()
        });
        rows.push(containers::row(container, size, style));
    }
    rows
}

/// What the filters say, with what they name looked up.
pub fn wanted(store: &Store<'_>, filter: &[String]) -> anyhow::Result<Wanted> {
    let filters = Filters::parse(filter, &containers::FILTERS)?;
    let images = filters.has("ancestor").then(|| image::Store::open(store.paths())).transpose()?;
    let created = |name: &str| store.find(name).map(|found| found.record.created);
    let ancestor = |name: &str| {
        let found = images.as_ref()?.resolve(name).ok()?;
        Some((found.id.to_string(), found.layers))
    };
    Ok(Wanted::new(filters, created, ancestor)?)
}
