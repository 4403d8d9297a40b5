//! `twill run`: a container from an image, started.

use std::fs;

use crate::commands::{Code, create as create_command};
use crate::container::end::{self, Removal};
use crate::container::{Attachment, Record, Store};
use crate::monitor::session::{self, Ending, Session, Signals};
use crate::terminal::is_terminal;
use crate::{Error, Paths, cgroup, events, output};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    after_help = "Examples:
  twill run --rm busybox echo hello             run once, keep nothing
  twill run -d --name web busybox httpd -f      stay in the background
  twill run -d -p 8080:80 web                   reach its port 80 at port 8080 of the host
  twill run -d --link db:mysql web              know container db as mysql
  twill run --rm --network container:web bb ss  look around in web's network
  echo data | twill run -i --rm busybox wc -c   feed it
  twill run -it --rm busybox sh                 sit in it; ctrl-p ctrl-q leaves it running
  twill run -a stderr web                       see its errors alone
  echo data | twill run -i -a stdin db          feed it and leave it running; prints its id
  twill run --rm --read-only --cap-drop ALL --security-opt no-new-privileges busybox id
                                                give it nothing that it can do without
  twill run -d --health-cmd 'wget -q -O - localhost' --health-interval 10s web
                                                have it asked how it is; `ps` shows what it answers
  twill run -d -v data:/var/lib/db -v /srv/conf:/etc/db:ro --tmpfs /run db
                                                a volume, a directory of the host, memory
  twill run -d --init --ulimit nofile=4096 --stop-timeout 60 db
                                                reap orphans, few files, a minute to end

The exit code is the command's own, 128+n if signal n ended it, 127 if there is no such command,
126 if it cannot be invoked, 125 if twill itself failed."
)]
pub struct Args {
    /// Print the id and leave the container running
    #[arg(short, long)]
    pub detach: bool,
    /// What to create.
    #[command(flatten)]
    pub create: create_command::Args,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let mut wishes = args.create.wishes()?;
    if args.detach {
        if !args.create.attach.is_empty() {
            let both = "conflicting options: cannot specify both --attach and --detach";
            return Err(Error::BadFlag(both.into()).into());
        }
        wishes.attached = Attachment::default();
    }
    if wishes.attached.input && wishes.tty && !is_terminal(std::io::stdin()) {
        return Err(Error::NotATerminal.into());
    }
    // Before there is a container that a signal could leave alone.
    let signals = (!args.detach).then(Signals::take).transpose()?;
    let hasty = cgroup::expect_move();
    let store = Store::new(paths);
    let record = create_command::create(&store, &args.create, &wishes)?;
    let attached =
        Attachment { input: record.attached.input && record.open_stdin, ..record.attached };
    let session = session::Wishes { attached, tty: record.tty };
    if !args.detach {
        events::container(paths, &record, "attach", &[]);
    }
    let attached = (!args.detach).then_some(session);
    let started = Session::start(paths, &record, attached)
        .and_then(|mut session| session.wait_until_started().map(|()| session));
    let started = match started {
        Ok(started) => started,
        Err(error) => {
            undo(&store, &record);
            return Err(error.into());
        }
    };
    drop(hasty);
    let Some(signals) = signals else {
        output::line(&record.id);
        return Ok(Code::OK);
    };
    let watches = record.attached.watches();
    if !watches {
        // As with Docker: nothing else tells which one it is.
        output::line(&record.id);
    }
    match started.sit(session, &signals)? {
        Ending::Exited(code) if watches => Ok(Code(code)),
        Ending::Exited(_) | Ending::Detached => Ok(Code::OK),
    }
}

/// What could not be started leaves nothing, unless somebody else has started it, and be it at an end already.
/// The reason for that counts, not what hinders us here.
fn undo(store: &Store<'_>, record: &Record) {
    let how = Removal { force: false, volumes: true };
    let removed = store.read(&record.id).and_then(|made| match made.state.started {
        None => end::remove(store, &made, how),
        Some(_) => Ok(()),
    });
    let gone = !store.paths().container(&record.id).exists();
    if let (true, Some(file)) = (gone, &record.cid_file) {
        // Of a container that there is no more; it may be gone as well.
        _ = fs::remove_file(file);
    }
    match removed {
        Err(error) if !gone => output::note(format_args!("twill: warning: {}", error.chain())),
        _ => {}
    }
}
