//! `twill events`: what happened, and what happens now.

use std::time::Duration;

use jiff::Timestamp;

use crate::commands::Code;
use crate::events::{self, Event, Follower, Wanted};
use crate::listing::Filters;
use crate::template::Template;
use crate::{Paths, output, when};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  twill events                                    from now on, until ctrl-c
  twill events --since 10m                        of the last ten minutes, and on
  twill events --since 1h --until 0s              of the last hour, and no more
  twill events -f event=die -f container=web
  twill events --since 24h --until 0s --format '{{json .}}'

Fields: .Type .Action .Actor.ID .Actor.Attributes .time .timeNano .status .id .from
Filters: type (container, image, volume), event, container, image, volume, label

Events are kept on disk, over reboots as well, until there are some thousand newer ones.")]
pub struct Args {
    /// Begin with those since then
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// End then; a time that is past shows what was and returns
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Only those that fit
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// How to print each: a Go template, or `json`
    #[arg(long, value_name = "TEMPLATE", value_parser = Template::of_format)]
    pub format: Option<Template>,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let now = Timestamp::now();
    let moment = |text: &Option<String>| {
        let parsed = text.as_deref().map(|text| when::parse(text, now)).transpose();
        parsed.map_err(crate::Error::Usage)
    };
    let (since, until) = (moment(&args.since)?, moment(&args.until)?);
    let filters = Filters::parse(&args.filter, &events::wanted::FILTERS)?;
    // Without a beginning, the past is only of interest when there is an end in it.
    let since = since.or((until.is_none_or(|until| until > now)).then_some(now));
    let wanted = Wanted { since, until, filters };
    let mut follower = Follower::new(&paths.events())?;
    loop {
        for event in follower.news()? {
            if wanted.fits(&event) {
                show(&event, args.format.as_ref())?;
            }
        }
        let left = until.map(|until| until.duration_since(Timestamp::now()));
        let left = left.map(|left| Duration::try_from(left).unwrap_or_default());
        if left == Some(Duration::ZERO) {
            return Ok(Code::OK);
        }
        if !follower.wait(left)? && left.is_none() {
            return Ok(Code::OK);
        }
    }
}

fn show(event: &Event, format: Option<&Template>) -> anyhow::Result<()> {
    match format {
        None => output::line(event.line()),
        Some(template) => output::line(template.render(&event.json().into())?),
    }
    Ok(())
}
