//! `twill logs`: what a container wrote, from the file that its monitor keeps.

use std::io::{self, ErrorKind, Write as _};

use jiff::Timestamp;

use crate::commands::{Code, each};
use crate::container::Store;
use crate::error::SystemContext as _;
use crate::logs::{self, Entry, Wishes};
use crate::{Error, Paths, when};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  twill logs -f web                        what it wrote, and what it writes
  twill logs -n 20 -t web                  the last lines, with their times
  twill logs --since 10m --until 5m web    of five minutes
  twill logs --details web                 with what --log-opt labels=… and env=… note")]
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
    /// Only what was written since then: a time, or a span as in 10m
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only what was written until then
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Show what is noted beside each line
    #[arg(long)]
    pub details: bool,
    /// The container, by name, id or the start of its id
    pub container: String,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let store = Store::new(paths);
    let container = each::one(&store, &args.container)?;
    let now = Timestamp::now();
    let moment = |text: &Option<String>| {
        text.as_deref().map(|text| when::parse(text, now)).transpose().map_err(Error::Usage)
    };
    let (since, until) = (moment(&args.since)?, moment(&args.until)?);
    let wishes = Wishes { tail: args.tail, follow: args.follow, since, until };
    let shown =
        logs::read(paths, &container, wishes, |entry| show(entry, args).system("write the log"));
    match shown {
        // `twill logs -f web | head` is no failure.
        Err(Error::System { source, .. }) if source.kind() == ErrorKind::BrokenPipe => {}
        shown => shown?,
    }
    Ok(Code::OK)
}

fn show(entry: &Entry, args: &Args) -> io::Result<()> {
    let Entry { log, stream, time, attrs } = entry;
    let mut line = if args.timestamps { format!("{time} ") } else { String::new() };
    if args.details {
        let all: Vec<String> =
            attrs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        line.push_str(&all.join(","));
        line.push(' ');
    }
    line.push_str(log);
    if stream == "stderr" {
        return io::stderr().write_all(line.as_bytes());
    }
    let mut stdout = io::stdout();
    stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush())
}
