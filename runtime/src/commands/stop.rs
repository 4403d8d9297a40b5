//! `twill stop`: ask, wait, then force.

use std::time::Duration;

use crate::commands::{Code, each};
use crate::container::end::{self, Manner};
use crate::container::{Record, Store, Wish};
use crate::{Paths, output};

/// Seconds, if nobody says anything else.
const PATIENCE: i64 = 10;

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  twill stop web                  ask, wait ten seconds, kill
  twill stop -t 60 db             give it a minute
  twill stop -s INT web           ask by another signal
  twill stop $(twill ps -q)       everything that runs

A paused container is let go on, so that it can end. No restart policy starts it again.")]
pub struct Args {
    /// How to ask.
    #[command(flatten)]
    pub asking: Asking,
    /// Names, ids or starts of ids
    #[arg(required = true)]
    pub containers: Vec<String>,
}

/// How a container is asked to end, and for how long.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Asking {
    /// Signal that asks it to end; its own stop signal if not given
    #[arg(short, long)]
    pub signal: Option<crate::signals::Signal>,
    /// Seconds to wait before the container is killed; -1 waits for ever; its own `--stop-timeout`, else
    /// 10, if not given
    #[arg(
        short,
        long,
        visible_alias = "timeout",
        value_name = "SECONDS",
        allow_negative_numbers = true
    )]
    pub time: Option<i64>,
}

impl Asking {
    /// For the library.
    #[must_use]
    pub fn manner(self, record: &Record, wish: Wish) -> Manner {
        let seconds = self.time.or(record.stop_timeout).unwrap_or(PATIENCE);
        // -1 waits for ever.
        let grace = u64::try_from(seconds).ok().map(Duration::from_secs);
        Manner { signal: self.signal, grace, wish }
    }
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let store = Store::new(paths);
    Ok(each::container(&store, &args.containers, |container, name| {
        let manner = args.asking.manner(&container.record, Wish::Rest);
        end::stop(&store, &container, manner)?;
        output::line(name);
        Ok(())
    }))
}
