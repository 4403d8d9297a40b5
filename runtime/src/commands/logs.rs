//! `twill logs`: what a container wrote, from the file that its monitor keeps.

use std::io::{self, ErrorKind, Write as _};

use crate::commands::{Code, each};
use crate::container::Store;
use crate::error::SystemContext as _;
use crate::logs::{self, Entry, Wishes};
use crate::{Error, Paths};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Go on until the container ends
    #[arg(short, long)]
    pub follow: bool,
    /// Only the last lines
    #[arg(short = 'n', long, value_name = "NUMBER", default_value = "all")]
    pub tail: logs::Tail,
    /// Begin each line with its time
    #[arg(short, long)]
    pub timestamps: bool,
    /// The container, by name, id or the start of its id
    pub container: String,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let store = Store::new(paths);
    let container = each::one(&store, &args.container)?;
    let wishes = Wishes { tail: args.tail, follow: args.follow };
    let shown = logs::read(paths, &container, wishes, |entry| {
        show(entry, args.timestamps).system("write the log")
    });
    match shown {
        // `twill logs -f web | head` is no failure.
        Err(Error::System { source, .. }) if source.kind() == ErrorKind::BrokenPipe => {}
        shown => shown?,
    }
    Ok(Code::OK)
}

fn show(entry: &Entry, timestamps: bool) -> io::Result<()> {
    let Entry { log, stream, time } = entry;
    let mut line = if timestamps { format!("{time} ") } else { String::new() };
    line.push_str(log);
    if stream == "stderr" {
        return io::stderr().write_all(line.as_bytes());
    }
    let mut stdout = io::stdout();
    stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush())
}
