//! `twill container prune`: all containers that do not run.

use std::io::BufRead as _;

use jiff::Timestamp;

use crate::commands::{Code, each};
use crate::container::{Store, end, reap, size};
use crate::error::FileContext as _;
use crate::listing::Filters;
use crate::{Error, Paths, human, output, when};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  twill container prune                       asks first
  twill container prune -f --filter until=24h those made more than a day ago
  twill container prune -f --filter label!=keep")]
pub struct Args {
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
    /// Only those that fit: until=TIME, label=NAME[=VALUE], label!=NAME[=VALUE]
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
}

/// What [`Filters::parse`] lets through.
pub const FILTERS: [&str; 3] = ["label", "label!", "until"];

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    Filters::parse(&args.filter, &FILTERS)?;
    if !args.force && !confirmed("This will remove all stopped containers.") {
        return Ok(reclaimed(0));
    }
    let (space, code) = prune(args, paths)?;
    reclaimed(space);
    Ok(code)
}

/// Removes them and says so; the bytes that were in them.
pub fn prune(args: &Args, paths: &Paths) -> anyhow::Result<(u64, Code)> {
    let filters = Filters::parse(&args.filter, &FILTERS)?;
    let until = until(&filters)?;
    let store = Store::new(paths);
    let (mut removed, mut space, mut code) = (Vec::new(), 0, Code::OK);
    for container in reap::settle_all(&store)? {
        let record = &container.record;
        let label = |name: &str| record.labels.get(name).map(String::as_str);
        let wanted = !container.state.status.is_alive()
            && until.is_none_or(|until| record.created < until)
            && filters.labels("label", label)
            && !(filters.has("label!") && filters.labels("label!", label));
        if !wanted {
            continue;
        }
        let upper = paths.container(&record.id).join("upper");
        // What cannot be counted can go all the same.
        let bytes = size::below(&upper).file("look through", &upper).unwrap_or_else(|error| {
            each::complain(&error);
            0
        });
        match end::remove(&store, &container, end::Removal::default()) {
            Ok(()) => {
                removed.push(record.id.clone());
                space += bytes;
            }
            // Started in the meantime.
            Err(Error::StillRunning { .. }) => {}
            Err(error) => {
                each::complain(&error);
                code = Code(1);
            }
        }
    }
    if !removed.is_empty() {
        output::line("Deleted Containers:");
        removed.iter().for_each(output::line);
        output::line("");
    }
    Ok((space, code))
}

/// The last line of every `prune`.
pub fn reclaimed(space: u64) -> Code {
    output::line(format_args!("Total reclaimed space: {}", human::size(space)));
    Code::OK
}

/// Only what is older than the youngest of the moments that were given.
pub fn until(filters: &Filters) -> Result<Option<Timestamp>, Error> {
    let now = Timestamp::now();
    let moments = filters.values("until").map(|text| when::parse(text, now).map_err(Error::Usage));
    Ok(moments.collect::<Result<Vec<_>, _>>()?.into_iter().min())
}

/// Asks the person, who has to say yes.
pub fn confirmed(what: &str) -> bool {
    output::raw(format!("WARNING! {what}\nAre you sure you want to continue? [y/N] ").as_bytes());
    let mut answer = String::new();
    // Whoever cannot answer has not agreed.
    let read = std::io::stdin().lock().read_line(&mut answer).is_ok();
    read && matches!(answer.trim(), "y" | "Y")
}
