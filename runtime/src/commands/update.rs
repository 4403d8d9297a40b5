//! `twill update`: other limits for containers, at once and for later starts.

use crate::cgroup::Hierarchies;
use crate::commands::{Code, each};
use crate::container::resources::{self, Resources};
use crate::container::{Status, Store};
use crate::error::Error;
use crate::{Paths, output};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  twill update --memory 256m web              less memory, or more
  twill update --cpus 1.5 --pids-limit 100 web db

What runs is limited at once; what rests, from its next start on.")]
pub struct Args {
    /// The limits.
    #[command(flatten)]
    pub limits: Limits,
    /// When it starts again by itself: no, on-failure, on-failure:TIMES, always, unless-stopped
    #[arg(long, value_name = "POLICY")]
    pub restart: Option<crate::container::Policy>,
    /// Names, ids or starts of ids
    #[arg(required = true)]
    pub containers: Vec<String>,
}

/// How much of the host a container may use, for `run`, `create` and `update`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Limits {
    /// Most memory, as in `64m` or `1.5g`
    #[arg(short, long, value_name = "BYTES", value_parser = resources::parse_bytes)]
    pub memory: Option<i64>,
    /// Most memory and swap together; -1 for all of the swap; twice the memory if not given
    #[arg(long, value_name = "BYTES", value_parser = resources::parse_bytes_or_all, allow_hyphen_values = true)]
    pub memory_swap: Option<i64>,
    /// Memory that is left to it when the host has little
    #[arg(long, value_name = "BYTES", value_parser = resources::parse_bytes)]
    pub memory_reservation: Option<i64>,
    /// Most processors, as in `0.5`
    #[arg(long, value_name = "NUMBER", value_parser = resources::parse_cpus, allow_negative_numbers = true)]
    pub cpus: Option<u64>,
    /// Weight among others when processors are scarce; 1024 is the usual one
    #[arg(short, long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(2..=262_144))]
    pub cpu_shares: Option<u64>,
    /// Only these processors, as in `0-2,5`
    #[arg(long, value_name = "LIST", value_parser = processors)]
    pub cpuset_cpus: Option<String>,
    /// Only these memory nodes
    #[arg(long, value_name = "LIST", value_parser = list)]
    pub cpuset_mems: Option<String>,
    /// Most processes and threads; -1 for any number
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub pids_limit: Option<i64>,
}

impl Limits {
    /// For the library.
    #[must_use]
    pub fn resources(&self) -> Resources {
        Resources {
            memory: self.memory,
            memory_swap: self.memory_swap,
            memory_reservation: self.memory_reservation,
            nano_cpus: self.cpus,
            cpu_shares: self.cpu_shares,
            cpuset_cpus: self.cpuset_cpus.clone(),
            cpuset_mems: self.cpuset_mems.clone(),
            pids_limit: self.pids_limit,
        }
    }
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let newer = args.limits.resources();
    if newer == Resources::default() && args.restart.is_none() {
        let nothing = "you must provide one or more flags when using this command";
        return Err(Error::Usage(nothing.into()).into());
    }
    let (store, processors) = (Store::new(paths), resources::processors());
    Ok(each::container(&store, &args.containers, |container, name| {
        container.record.resources.with(&newer).check(processors)?;
        let wanted = (&newer, args.restart);
        store.limit(&container.record.id, wanted, |container, limits| {
            if container.state.status != Status::Running {
                return Ok(());
            }
            Hierarchies::here()?.cgroup(&container.record.cgroup()).limit(limits)
        })?;
        output::line(name);
        Ok(())
    }))
}

fn processors(text: &str) -> Result<String, String> {
    list(text)
        .map_err(|_unlike| format!("Invalid value {text} for cpuset cpus: invalid format: {text}"))
}

fn list(text: &str) -> Result<String, String> {
    let number = |part: &str| part.parse::<u16>().ok();
    let good = text.split(',').all(|range| match range.split_once('-') {
        Some((first, last)) => {
            matches!((number(first), number(last)), (Some(first), Some(last)) if first <= last)
        }
        None => number(range).is_some(),
    });
    if good { Ok(text.to_owned()) } else { Err(format!("`{text}` is no list like 0-2,5")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors() {
        for (text, good) in [
            ("0", true),
            ("0-2,5", true),
            ("1,3", true),
            ("2-1", false),
            ("", false),
            ("a", false),
            ("0-", false),
        ] {
            assert_eq!(list(text).is_ok(), good, "{text:?}");
        }
    }
}
