//! `twill attach`: input and output of a running container.

use crate::commands::{Code, each};
use crate::container::{Attachment, Container, Store};
use crate::monitor::session::{Ending, Session, Signals, Wishes};
use crate::{Error, Paths, events};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Do not send standard input
    #[arg(long)]
    pub no_stdin: bool,
    /// The container, by name, id or the start of its id
    pub container: String,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let store = Store::new(paths);
    let Container { record, .. } =
        each::active(&store, &args.container, "attach").map_err(|error| match error {
            Error::NotRunning(_) => Error::AttachToResting,
            error => error,
        })?;
    events::container(paths, &record, "attach", &[]);
    let signals = Signals::take()?;
    let attached = Attachment::watching(record.open_stdin && !args.no_stdin);
    let wishes = Wishes { attached, tty: record.tty };
    match Session::join(paths, &record, Some(wishes))?.sit(wishes, &signals)? {
        Ending::Exited(code) => Ok(Code(code)),
        Ending::Detached => Ok(Code::OK),
    }
}
