//! `twill stats`: what containers use, once or again and again.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::json;

use super::info::memory_total;
use crate::cgroup::{Hierarchies, Usage};
use crate::commands::{Code, each};
use crate::container::{Container, Network, Status, Store, reap};
use crate::listing::{FORMAT_HELP, Format, Listing};
use crate::template::Data;
use crate::{Paths, human, output};

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(1);
/// The same when there are only two: enough to tell how busy a container is.
const GLANCE: Duration = Duration::from_millis(500);

const LISTING: Listing = Listing {
    headings: &[
        ("BlockIO", "BLOCK I/O"),
        ("CPUPerc", "CPU %"),
        ("Container", "CONTAINER"),
        ("ID", "CONTAINER ID"),
        ("MemPerc", "MEM %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("Name", "NAME"),
        ("NetIO", "NET I/O"),
        ("PIDs", "PIDS"),
    ],
    columns: "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}",
};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  twill stats                               all that run, again every second, until ctrl-c
  twill stats --no-stream web db            once
  twill stats --no-stream --format '{{.Name}} {{.MemUsage}}'

Fields: .Container .ID .Name .CPUPerc .MemUsage .MemPerc .NetIO .BlockIO .PIDs
A processor that is busy all of the time is 100 %, two are 200 %.")]
pub struct Args {
    /// Also those that do not run
    #[arg(short, long)]
    pub all: bool,
    /// Look once and return
    #[arg(long)]
    pub no_stream: bool,
    /// Print ids in full
    #[arg(long)]
    pub no_trunc: bool,
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "table", long_help = FORMAT_HELP)]
    pub format: Format,
    /// Names, ids or starts of ids; all that run if not given
    pub containers: Vec<String>,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let store = Store::new(paths);
    let hierarchies = Hierarchies::here()?;
    let memory = memory_total();
    let mut before = BTreeMap::new();
    let mut shown = false;
    loop {
        let now = looks(args, &store, &hierarchies)?;
        if shown || !args.no_stream || now.is_empty() {
            let rows: Vec<Data> = now
                .iter()
                .map(|look| look.row(before.get(&look.id), memory, args.no_trunc))
                .collect();
            if !args.no_stream {
                // To the top left, and away with what was there.
                output::raw(b"\x1b[2J\x1b[H");
            }
            LISTING.print(&args.format, &rows)?;
            if args.no_stream {
                return Ok(Code::OK);
            }
        }
        shown = true;
        before = now.into_iter().map(|look| (look.id.clone(), look)).collect();
        if !pause(if args.no_stream { GLANCE } else { PERIOD }) {
            return Ok(Code::OK);
        }
    }
}

/// False if nobody reads us any more.
fn pause(period: Duration) -> bool {
    let stdout = io::stdout();
    let timeout = PollTimeout::try_from(period).unwrap_or(PollTimeout::MAX);
    let mut set = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    // An error of the poll shortens a pause; that is all.
    !matches!(poll(&mut set, timeout), Ok(1..))
}

/// One container at one moment.
#[derive(Debug)]
struct Look {
    wanted: String,
    id: String,
    name: String,
    at: Instant,
    runs: bool,
    usage: Usage,
    received: u64,
    sent: u64,
}

fn looks(args: &Args, store: &Store<'_>, hierarchies: &Hierarchies) -> anyhow::Result<Vec<Look>> {
    if args.containers.is_empty() {
        let mut all = reap::settle_all(store)?;
        all.retain(|one| args.all || one.state.status == Status::Running);
        let looks = all.iter().map(|one| look(one, one.record.short_id(), hierarchies));
        return Ok(looks.collect());
    }
    let mut looks = Vec::new();
    for name in &args.containers {
        looks.push(look(&each::one(store, name)?, name, hierarchies));
    }
    Ok(looks)
}

fn look(container: &Container, wanted: &str, hierarchies: &Hierarchies) -> Look {
    let Container { record, state } = container;
    let runs = state.status == Status::Running;
    let usage = if runs { hierarchies.cgroup(&record.cgroup()).usage() } else { Usage::default() };
    let process = state.process.filter(|_| record.network != Network::Host);
    let devices = process.map(|process| format!("/proc/{}/net/dev", process.pid));
    let text = devices.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
    let (received, sent) = traffic(&text);
    let (id, name) = (record.id.clone(), record.name.clone());
    Look { wanted: wanted.to_owned(), id, name, at: Instant::now(), runs, usage, received, sent }
}

/// Bytes in and out of all devices but the loopback.
fn traffic(devices: &str) -> (u64, u64) {
    let mut sum = (0_u64, 0_u64);
    for (name, counters) in devices.lines().filter_map(|line| line.split_once(':')) {
        let counters: Vec<u64> =
            counters.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect();
        if let (false, [received, _, _, _, _, _, _, _, sent, ..]) =
            (name.trim() == "lo", counters.as_slice())
        {
            sum = (sum.0.saturating_add(*received), sum.1.saturating_add(*sent));
        }
    }
    sum
}

impl Look {
    fn row(&self, before: Option<&Self>, host_memory: u64, whole: bool) -> Data {
        let Usage { memory, memory_limit, pids, read, written, .. } = self.usage;
        let limit = memory_limit.unwrap_or(u64::MAX).min(host_memory);
        let limit = if self.runs { limit } else { 0 };
        let busy = before.map_or(0, |before| self.busy_since(before));
        let pair = |first, second| format!("{} / {}", human::size(first), human::size(second));
        let usage = format!("{} / {}", human::binary_size(memory), human::binary_size(limit));
        json!({
            "BlockIO": pair(read, written),
            "CPUPerc": percent(busy),
            "Container": self.wanted,
            "ID": if whole { &self.id } else { crate::container::id::short(&self.id) },
            "MemPerc": percent(share(memory, limit)),
            "MemUsage": usage,
            "Name": self.name,
            "NetIO": pair(self.received, self.sent),
            "PIDs": pids.to_string(),
        })
        .into()
    }

    /// In hundredths of a percent.
    fn busy_since(&self, before: &Self) -> u64 {
        let elapsed = self.at.duration_since(before.at).as_nanos();
        share(self.usage.cpu.saturating_sub(before.usage.cpu), u64::try_from(elapsed).unwrap_or(0))
    }
}

fn share(part: u64, whole: u64) -> u64 {
    let hundredths = u128::from(part) * 10_000 / u128::from(whole.max(1));
    if whole == 0 { 0 } else { u64::try_from(hundredths).unwrap_or(u64::MAX) }
}

fn percent(hundredths: u64) -> String {
    format!("{}.{:02}%", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_is_that_of_all_devices_but_one() {
        let text = "Inter-|   Receive                 |  Transmit\n face |bytes    packets\n\
                    \x20   lo:  100 1 0 0 0 0 0 0  100 1 0 0 0 0 0 0\n\
                    \x20 eth0: 2000 2 0 0 0 0 0 0   30 2 0 0 0 0 0 0\n\
                    \x20 eth1:    5 2 0 0 0 0 0 0    7 2 0 0 0 0 0 0\n";
        assert_eq!(traffic(text), (2005, 37));
        assert_eq!(traffic(""), (0, 0));
    }

    #[test]
    fn rows_say_how_busy_it_was() {
        let at = Instant::now();
        let look = |cpu, seconds| Look {
            wanted: "web".into(),
            id: "a".repeat(64),
            name: "web".into(),
            at: at + Duration::from_secs(seconds),
            runs: true,
            usage: Usage {
                cpu,
                memory: 1 << 20,
                memory_limit: Some(64 << 20),
                pids: 3,
                ..Usage::default()
            },
            received: 1000,
            sent: 0,
        };
        let row = look(3_000_000_000, 2).row(Some(&look(0, 0)), 1 << 30, false);
        for (field, want) in [
            ("CPUPerc", "150.00%"),
            ("MemUsage", "1MiB / 64MiB"),
            ("MemPerc", "1.56%"),
            ("NetIO", "1kB / 0B"),
            ("BlockIO", "0B / 0B"),
            ("PIDs", "3"),
            ("ID", "aaaaaaaaaaaa"),
        ] {
            assert_eq!(row.fields[field], want, "{field}");
        }
        let resting = Look { runs: false, usage: Usage::default(), ..look(0, 0) };
        let row = resting.row(None, 1 << 30, false);
        assert_eq!(
            (&row.fields["MemUsage"], &row.fields["MemPerc"]),
            (&json!("0B / 0B"), &json!("0.00%"))
        );
    }
}
