//! What joining a pod and taking it off costs, ours beside Debian's reference plugins: `twill-lab bench-cni`.
//!
//! Each chain of plugins has a host to itself, a network namespace, and is called as a runtime calls it: one process for each
//! plugin and verb, the result of one handed to the next. Rounds are interleaved, so that a busy machine is busy
//! for all of them. Below are floors that no plugin can be under: starting a program that does nothing, the kernel's making of
//! a pair of interfaces, and `ip link delete` of a pod's pair, of which nearly all is the kernel's.

mod chain;
mod table;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use twill_core::ids::Mtu;
use twill_net::blocking::{Kernel, VethEnd, VethPair};
use twill_net::netns::{Netns, Scratch};

use crate::by_hand::say;
use crate::may_build_labs;
use crate::programs::Programs;

use chain::{Chain, Verb};
use table::{Table, Wanted};

/// What the kernel takes when nobody is in between.
const KERNEL: &str = "veth pair by the kernel";
const REMOVAL: (&str, &str) = ("`ip link delete` of a pod's pair", "DEL");

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchCni {
    /// How many pods each chain joins and takes off, one after the other
    #[arg(long, value_name = "COUNT", default_value_t = 50,
          value_parser = clap::value_parser!(u16).range(2..))]
    rounds: u16,
    /// How many pods are joined at the same time
    #[arg(long, value_name = "COUNT", default_value_t = 100,
          value_parser = clap::value_parser!(u16).range(1..=200))]
    at_once: u16,
    /// Where Debian's plugins are; without them ours is measured alone
    #[arg(long, value_name = "DIR", default_value = "/usr/lib/cni")]
    plugins: PathBuf,
}

/// Runs everything and prints it.
pub(crate) fn run(wanted: &BenchCni) -> Result<()> {
    if !may_build_labs() {
        bail!("measuring needs root");
    }
    let scratch = Scratch::enter().context("measuring needs root")?;
    let ours = Programs::find()?.path("twill-cni")?;
    let mut chains =
        vec![Chain::ours(&ours, &scratch, false)?, Chain::ours(&ours, &scratch, true)?];
    let there = ["bridge", "host-local", "portmap", "firewall", "bandwidth"];
    if there.iter().all(|name| wanted.plugins.join(name).is_file()) {
        chains.push(Chain::debian(&wanted.plugins, &scratch, false)?);
        chains.push(Chain::debian(&wanted.plugins, &scratch, true)?);
    } else {
        say(&format!("Debian's plugins are not in {}; see --plugins", wanted.plugins.display()));
    }
    let mut table = Table::default();
    // The first one of each makes its bridge, and finds out what to write rules with.
    for round in 0..=u32::from(wanted.rounds) {
        for chain in &mut chains {
            let pod = scratch.another();
            for verb in [Verb::Add, Verb::Del] {
                let cost = measured(|| chain.call(verb, (round, &pod)))?;
                if round > 0 {
                    table.add((chain.name(), verb.word()), cost);
                }
            }
        }
        if round > 0 {
            floors(&scratch, &mut table)?;
            removal(&mut chains[0], (round, &scratch.another()), &mut table)?;
        }
    }
    table.print(&[
        (("twill-cni", "ADD"), Wanted::Below(8.0)),
        (("twill-cni with ports and bandwidth", "ADD"), Wanted::Below(12.0)),
        (("twill-cni", "DEL"), Wanted::Above(REMOVAL, 5.0)),
        (("twill-cni with ports and bandwidth", "DEL"), Wanted::Above(REMOVAL, 5.0)),
    ]);
    for chain in &chains[..2] {
        at_once(chain, &scratch, wanted.at_once)?;
    }
    Ok(())
}

/// What it took, and how long processors were at work for it: of all processes that ended meanwhile.
#[derive(Clone, Copy, Debug)]
struct Cost {
    wall: Duration,
    cpu: Duration,
}

fn measured(work: impl FnOnce() -> Result<()>) -> Result<Cost> {
    let before = children()?;
    let start = Instant::now();
    work()?;
    let wall = start.elapsed();
    Ok(Cost { wall, cpu: children()?.saturating_sub(before) })
}

fn children() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let microseconds =
        usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(u64::try_from(microseconds)?))
}

fn floors(scratch: &Scratch, table: &mut Table) -> Result<()> {
    let cost = measured(|| {
        let status = Command::new("/bin/true").stdin(Stdio::null()).status()?;
        ensure!(status.success(), "/bin/true: {status}");
        Ok(())
    })?;
    table.add(("a program that does nothing", ""), cost);
    let pod = scratch.another();
    let mtu = Mtu::new(1450).context("an MTU")?;
    let end = |name| VethEnd { name, mtu, mac: None };
    let mut kernel = Kernel::here()?;
    let pair = VethPair { host: end("bench0"), peer: end("eth0"), bridge: None };
    let cost = measured(|| Ok(kernel.add_veth(&pair, &pod)?))?;
    table.add((KERNEL, "ADD"), cost);
    let port = kernel.link("bench0")?.context("no pair")?.index;
    kernel.drop_link(port)?;
    Ok(())
}

/// Of a pod that was joined as all the others.
fn removal(chain: &mut Chain, (round, pod): (u32, &Netns), table: &mut Table) -> Result<()> {
    chain.call(Verb::Add, (round, pod))?;
    let cost = measured(|| chain.drop_pair())?;
    table.add(REMOVAL, cost);
    chain.call(Verb::Del, (round, pod))
}

/// All at once, as a node that comes back does it.
fn at_once(chain: &Chain, scratch: &Scratch, many: u16) -> Result<()> {
    let pods: Vec<(u32, Netns)> =
        (0..many).map(|number| (u32::from(number) + 10_000, scratch.another())).collect();
    for verb in [Verb::Add, Verb::Del] {
        let start = Instant::now();
        let results: Vec<Result<()>> = thread::scope(|scope| {
            let calls: Vec<_> = pods
                .iter()
                .map(|(number, pod)| scope.spawn(move || chain.call_once(verb, (*number, pod))))
                .collect();
            let ended = calls.into_iter().map(thread::ScopedJoinHandle::join);
            ended.map(|it| it.unwrap_or_else(|_panic| bail!("a thread panicked"))).collect()
        });
        let errors: Vec<String> =
            results.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect();
        ensure!(errors.is_empty(), "{} of {many} failed: {}", errors.len(), errors.join("; "));
        let took = start.elapsed().as_secs_f64() * 1e3;
        say(&format!(
            "{many} pods at once, {}: {} without an error in {took:.0} ms",
            chain.name(),
            verb.word()
        ));
    }
    chain.is_clean()
}
