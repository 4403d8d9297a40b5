//! `twill restart`: stop what runs, start it again.

use crate::commands::stop::Asking;
use crate::commands::{Code, each};
use crate::container::{Container, Status, Store, Wish, end};
use crate::error::Result;
use crate::monitor::session::Session;
use crate::{Paths, events, output};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  twill restart web               stop it as `twill stop` does, then start it
  twill restart -t 0 web db       without waiting for them to end by themselves

What the containers left on disk stays. One that rests is only started.")]
pub struct Args {
    /// How to ask.
    #[command(flatten)]
    pub asking: Asking,
    /// Names, ids or starts of ids
    #[arg(required = true)]
    pub containers: Vec<String>,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let store = Store::new(paths);
    Ok(each::container(&store, &args.containers, |container, name| {
        restart(&store, &container, args.asking)?;
        output::line(name);
        Ok(())
    }))
}

fn restart(store: &Store<'_>, container: &Container, asking: Asking) -> Result<()> {
    let record = &container.record;
    end::stop(store, container, asking.manner(record, Wish::Again))?;
    let started = Session::start(store.paths(), record, None)
        .and_then(|mut session| session.wait_until_started());
    if started.is_err() && record.auto_remove && container.state.status == Status::Running {
        // It was to vanish with its end, and this is its end. The reason for it counts.
        drop(end::remove(store, &each::one(store, &record.id)?, end::Removal::default()));
    }
    started?;
    events::container(store.paths(), record, "restart", &[]);
    Ok(())
}
