//! `twill start`: a container that rests runs again, with what it left on disk.

use crate::commands::{Code, each};
use crate::container::{Attachment, Container, Store};
use crate::monitor::session::{Ending, Session, Signals, Wishes};
use crate::{Error, Paths, cgroup, events, output};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Connect to its output, and end with its exit code
    #[arg(short, long)]
    pub attach: bool,
    /// Connect standard input too
    #[arg(short, long)]
    pub interactive: bool,
    /// Names, ids or starts of ids
    #[arg(required = true)]
    pub containers: Vec<String>,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let store = Store::new(paths);
    if !args.attach && !args.interactive {
        let _hasty = cgroup::expect_move();
        return Ok(each::container(
            &store,
            &args.containers,
            |Container { record, state }, name| {
                if state.paused {
                    return Err(Error::StartPaused(record.name));
                }
                Session::start(paths, &record, None)?.wait_until_started()?;
                output::line(name);
                Ok(())
            },
        ));
    }
    let [container] = args.containers.as_slice() else {
        return Err(
            Error::Usage("you cannot start and attach multiple containers at once".into()).into()
        );
    };
    let Container { record, state } = each::one(&store, container)?;
    if state.paused {
        return Err(Error::StartPaused(record.name).into());
    }
    let signals = Signals::take()?;
    let hasty = cgroup::expect_move();
    let attached = Attachment::watching(record.open_stdin && args.interactive);
    let wishes = Wishes { attached, tty: record.tty };
    events::container(paths, &record, "attach", &[]);
    let mut session = Session::start(paths, &record, Some(wishes))?;
    session.wait_until_started()?;
    drop(hasty);
    match session.sit(wishes, &signals)? {
        Ending::Exited(code) => Ok(Code(code)),
        Ending::Detached => Ok(Code::OK),
    }
}
