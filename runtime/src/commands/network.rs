//! `twill network`: what containers have to do with this host's place on the overlay.

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::commands::{Code, each};
use crate::container::renumber::{self, Moved};
use crate::container::{Address, Record, Store, reap};
use crate::{Paths, inspect, output};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// List networks
    Ls(super::network_list::List),
    /// Show all that is known about networks, as JSON
    Inspect(super::network_list::Inspect),
    /// Bring running containers to the subnet and MTU that this host has now
    ///
    /// Each container that is moved gets a line on stdout. Containers of other runtimes that are
    /// still in a former subnet are named on stderr: they have to be made again. The agent runs this
    /// whenever the subnet or the MTU has changed; when all is right it does nothing. The exit code is 1
    /// if a container could not be moved.
    Sync {
        /// How to print
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
}

/// How to print who was moved.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Format {
    /// A line for people
    Text,
    /// One JSON object a line
    Json,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    match &args.verb {
        Verb::Ls(args) => super::network_list::list(args, paths),
        Verb::Inspect(args) => super::network_list::inspect(args, paths),
        Verb::Sync { format } => sync(paths, *format),
    }
}

fn sync(paths: &Paths, format: Format) -> anyhow::Result<Code> {
    let store = Store::new(paths);
    let mut code = Code::OK;
    for container in reap::settle_all(&store)? {
        let record = container.record;
        match renumber::renumber(&store, &record.id) {
            Ok(None) => {}
            Ok(Some(moved)) => output::line(line(&record, &moved, format)),
            Err(error) => {
                output::note(format_args!("twill: container {} stays behind", record.name));
                each::complain(&error);
                code = Code(1);
            }
        }
    }
    if let Err(error) = renumber::bridges(paths) {
        each::complain(&error);
        code = Code(1);
    }
    for (owner, address) in renumber::stranded(paths)? {
        output::note(format_args!(
            "twill: warning: {owner} has {address}, which is not this host's any more: make it again"
        ));
    }
    Ok(code)
}

fn line(record: &Record, Moved { before, after }: &Moved, format: Format) -> String {
    match format {
        Format::Text => format!(
            "{} {}: {} -> {}, mtu {}",
            record.short_id(),
            record.name,
            words(before),
            words(after),
            after.mtu
        ),
        Format::Json => json!({
            "ID": record.id,
            "Name": record.name,
            "From": place(before),
            "To": place(after),
        })
        .to_string(),
    }
}

fn words(address: &Address) -> String {
    let all: Vec<String> = address.all().map(|ip| ip.ip.to_string()).collect();
    all.join(" and ")
}

fn place(address: &Address) -> Value {
    let mut place = inspect::addresses(Some(address));
    for gateway in ["Gateway", "IPv6Gateway"] {
        place.remove(gateway);
    }
    place.insert("MTU".into(), json!(address.mtu));
    Value::Object(place)
}
