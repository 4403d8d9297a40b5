//! Flows and pings between containers of three hosts, and how long each was interrupted.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use twill_integration::container::Endpoint;
use twill_integration::fabric::Fabric;
use twill_integration::flow::Flow;
use twill_integration::{Daemon, wait_until};

use crate::LIMIT;

/// What is promised for every flow and every change.
const INTERRUPTION: Duration = Duration::from_secs(1);

const KIB: u64 = 1024;

/// Everybody talks to everybody.
pub(crate) struct Traffic {
    flows: Vec<(&'static str, Flow)>,
    pings: Vec<(&'static str, Daemon)>,
    /// How many answers each ping had when it was looked at last.
    seen: RefCell<Vec<usize>>,
}

impl Traffic {
    pub(crate) fn start(fabric: &Fabric) -> Result<Self> {
        let start = |number| {
            Endpoint::container(fabric.node(number), &format!("c{number}"), &["sleep", "10000"])
        };
        let [c1, c2, c3] = [start(1)?, start(2)?, start(3)?];
        let pause = Duration::from_millis(10);
        let flows = vec![
            ("tcp c1 to c2", Flow::paced(&c1, &c2, pause)?),
            ("tcp c3 to c1", Flow::paced(&c3, &c1, pause)?),
        ];
        let pings = vec![
            ("ping c1 to c2", ping(&c1, &c2)?),
            ("ping c2 to c3", ping(&c2, &c3)?),
            ("ping c3 to c1", ping(&c3, &c1)?),
        ];
        let seen = RefCell::new(vec![0; pings.len()]);
        let traffic = Self { flows, pings, seen };
        traffic.goes_on("before anything changes")?;
        Ok(traffic)
    }

    /// Waits until all of it goes on, and says how long each part was interrupted since the last time.
    pub(crate) fn goes_on(&self, what: &str) -> Result<()> {
        for (name, flow) in &self.flows {
            let before = flow.arrived();
            wait_until(&format!("{what}: {name}"), LIMIT, || flow.arrived() > before + 2048 * KIB)?;
            let silence = flow.take_silence();
            println!("{what}: {name}: {silence:.0?}");
            ensure!(silence < INTERRUPTION, "{what}: {name} was interrupted for {silence:?}");
        }
        let mut seen = self.seen.borrow_mut();
        for ((name, ping), seen) in self.pings.iter().zip(seen.iter_mut()) {
            let before = answers(ping).len();
            wait_until(&format!("{what}: {name}"), LIMIT, || answers(ping).len() > before + 20)?;
            let answers = answers(ping);
            let new = &answers[seen.saturating_sub(1)..];
            let pairs = || new.iter().zip(&new[1..]);
            let silence = pairs().map(|(one, next)| next.at - one.at).fold(0.0, f64::max);
            // On two ways at once a later answer may come before an earlier one.
            let numbers: BTreeSet<u64> = new.iter().map(|answer| answer.number).collect();
            let span =
                numbers.last().zip(numbers.first()).map_or(0, |(last, first)| last - first + 1);
            let lost = span - u64::try_from(numbers.len())?;
            println!("{what}: {name}: {:.0} ms, {lost} lost", silence * 1e3);
            ensure!(silence < INTERRUPTION.as_secs_f64(), "{what}: {name}: {silence} s");
            *seen = answers.len();
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<()> {
        for (name, flow) in self.flows {
            let bytes = flow.finish().with_context(|| name.to_owned())?;
            println!("{name}: {} MiB, each byte in its place", bytes / KIB / KIB);
        }
        self.pings.into_iter().try_for_each(|(_name, ping)| ping.kill())
    }
}

/// One answer: when it came, in seconds, and to which request.
struct Answer {
    at: f64,
    number: u64,
}

fn ping(from: &Endpoint, to: &Endpoint) -> Result<Daemon> {
    let network = format!("--net={}", from.network);
    let address = to.address.to_string();
    let argv = ["nsenter", &network, "ping", "-D", "-n", "-i", "0.01", &address];
    from.host.spawn(&format!("ping-{}", to.name), argv)
}

fn answers(ping: &Daemon) -> Vec<Answer> {
    let said = ping.transcript();
    let answer = |line: &str| {
        let (at, rest) = line.strip_prefix('[')?.split_once(']')?;
        let (_before, number) = rest.split_once("icmp_seq=")?;
        let number = number.split(' ').next()?.parse().ok()?;
        rest.contains("bytes from").then_some(Answer { at: at.parse().ok()?, number })
    };
    said.lines().filter_map(answer).collect()
}
