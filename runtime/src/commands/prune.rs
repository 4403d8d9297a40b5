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

/// What [`Chosen::parse`] lets through for containers and images.
pub const FILTERS: [&str; 3] = ["label", "label!", "until"];

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let chosen = Chosen::parse(&args.filter, &FILTERS)?;
    if !args.force && !confirmed("This will remove all stopped containers.") {
        return Ok(reclaimed(0));
    }
    let (space, code) = prune(&chosen, paths)?;
    reclaimed(space);
    Ok(code)
}

/// Removes those that are chosen and says so; the bytes that were in them.
pub fn prune(chosen: &Chosen, paths: &Paths) -> anyhow::Result<(u64, Code)> {
    let store = Store::new(paths);
    let (mut removed, mut space, mut code) = (Vec::new(), 0_u64, Code::OK);
    for container in reap::settle_all(&store)? {
        let record = &container.record;
        let label = |name: &str| record.labels.get(name).map(String::as_str);
        if container.state.status.is_alive() || !chosen.fits(Some(record.created), label) {
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
                space = space.saturating_add(bytes);
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

/// Which of those that nobody needs are to go.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// What was asked for.
    pub filters: Filters,
    /// Only what is older: the earliest of the moments that were given.
    until: Option<Timestamp>,
}

impl Chosen {
    /// Refuses keys that the command does not know, and moments that are none.
    pub fn parse(wishes: &[String], known: &[&str]) -> Result<Self, Error> {
        let filters = Filters::parse(wishes, known)?;
        let now = Timestamp::now();
        let moment = |text| when::parse(text, now).map_err(Error::Usage);
        let moments = filters.values("until").map(moment).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { filters, until: moments.into_iter().min() })
    }

    /// Whether one is to go, by its age, if that is known, and its labels.
    pub fn fits<'a>(
        &self,
        made: Option<Timestamp>,
        label: impl Fn(&str) -> Option<&'a str>,
    ) -> bool {
        let is_old = self.until.is_none_or(|until| made.is_none_or(|made| made < until));
        let is_spared = self.filters.has("label!") && self.filters.labels("label!", &label);
        is_old && !is_spared && self.filters.labels("label", &label)
    }
}

/// Asks the person, who has to say yes.
pub fn confirmed(what: &str) -> bool {
    output::raw(format!("WARNING! {what}\nAre you sure you want to continue? [y/N] ").as_bytes());
    let mut answer = String::new();
    // Whoever cannot answer has not agreed.
    let read = std::io::stdin().lock().read_line(&mut answer).is_ok();
    read && matches!(answer.trim(), "y" | "Y")
}
