//! What daily commands of containers cost, ours beside those of others: `twill-lab bench-runtime`.
//!
//! Each runtime has a host of the lab to itself, the same image and the same command; rounds are interleaved,
//! so that a busy machine is busy for all of them. crun has a bundle that lies ready, stores nothing,
//! makes no network and filters no system calls: the least that any of the others could take.

mod engine;
mod image;
mod memory;
mod table;

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::by_hand::say;
use crate::enter::spawn_in;
use crate::fabric::{Backend, Fabric};
use crate::host::Host;
use crate::interrupt::Interrupt;
use crate::may_build_labs;

use engine::{Engine, Kind};
use table::Table;

/// How many at once.
const MANY: usize = 20;
/// How many are listed.
const LISTED: usize = 200;
/// A command may take as long, at most.
const LIMIT: Duration = Duration::from_mins(5);

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchRuntime {
    /// How often each command is run
    #[arg(long, value_name = "COUNT", default_value_t = 20,
          value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Beside which; those that are not installed are left out
    #[arg(long, value_enum, value_name = "RUNTIME", value_delimiter = ',',
          default_values_t = [Kind::Crun, Kind::Podman, Kind::Docker])]
    beside: Vec<Kind>,
    /// Size of the image that is loaded, in MB
    #[arg(long, value_name = "MB", default_value_t = 500,
          value_parser = clap::value_parser!(u16).range(1..=4_000))]
    load: u16,
}

/// Runs everything and prints it.
pub(crate) fn run(wanted: &BenchRuntime) -> Result<()> {
    if !may_build_labs() {
        bail!("measuring needs root");
    }
    let interrupt = Interrupt::expect()?;
    let mut fabric = Fabric::start(1, Backend::Vxlan)?;
    interrupt.ends(fabric.lab().stop()?)?;
    let archive = image::write(fabric.node(1), wanted.load)?;
    let mut engines = vec![
        Engine::twill(Kind::Twill, fabric.node(1)),
        Engine::twill(Kind::TwillAlone, fabric.node(1)),
    ];
    for kind in &wanted.beside {
        match Engine::other(*kind, fabric.add_host()?)? {
            Some(engine) => engines.push(engine),
            None => say(&format!("{} is not here, or does not run here", kind.name())),
        }
    }
    let mut table = Table::new(&engines);
    commands(&engines, wanted.rounds, &mut table)?;
    at_once(&engines, &mut table)?;
    lists(&engines, wanted.rounds, &mut table)?;
    memory::of_one(&engines, &mut table)?;
    loads(&engines, (&archive, wanted.load), &mut table)?;
    table.print();
    drop(engines);
    fabric.finish()
}

/// The shortest container there is, and a command in one that runs.
fn commands(engines: &[Engine], rounds: u16, table: &mut Table) -> Result<()> {
    for engine in engines {
        engine.start("running")?;
    }
    for _ in 0..rounds {
        for (index, engine) in engines.iter().enumerate() {
            table.add("run --rm busybox true", index, timed(engine.host(), &engine.run())?);
            let exec = engine.exec("running");
            table.add("exec true", index, timed(engine.host(), &exec)?);
        }
    }
    engines.iter().try_for_each(|engine| engine.remove("running"))
}

fn at_once(engines: &[Engine], table: &mut Table) -> Result<()> {
    let name = "20 of them at once";
    for _ in 0..3 {
        for (index, engine) in engines.iter().enumerate() {
            let line = engine.run_numbered();
            let all = format!(
                "for i in $(seq {MANY}); do {line} & p=\"$p $!\"; done; for j in $p; do wait $j || exit 1; done"
            );
            table.add(name, index, timed(engine.host(), &["sh".into(), "-c".into(), all])?);
        }
    }
    Ok(())
}

/// Of containers that were made and not started: whoever lists looks at each all the same.
fn lists(engines: &[Engine], rounds: u16, table: &mut Table) -> Result<()> {
    let of_images = || engines.iter().enumerate().filter(|(_, engine)| engine.has_images());
    for (_, engine) in of_images().filter(|(_, engine)| !engine.is_alone()) {
        let line = engine.words(&["create", "busybox", "true"]).join(" ");
        let all = format!("for i in $(seq {LISTED}); do {line} || exit 1; done >/dev/null");
        engine.within(&["sh", "-c", &all])?;
    }
    for _ in 0..rounds {
        for (index, engine) in of_images() {
            let all = engine.words(&["ps", "-a"]);
            table.add("ps -a of 200 containers", index, timed(engine.host(), &all)?);
        }
    }
    for (_, engine) in of_images().filter(|(_, engine)| !engine.is_alone()) {
        let list = engine.words(&["ps", "-aq"]).join(" ");
        let remove = engine.words(&["rm", "-f"]).join(" ");
        engine.within(&["sh", "-c", &format!("{remove} $({list}) >/dev/null")])?;
    }
    Ok(())
}

fn loads(engines: &[Engine], (archive, size): (&str, u16), table: &mut Table) -> Result<()> {
    let name = format!("load of an image of {size} MB");
    for _ in 0..2 {
        for (index, engine) in engines.iter().enumerate() {
            if !engine.has_images() || engine.is_alone() {
                continue;
            }
            let load = engine.words(&["load", "-i", archive]);
            table.add(&name, index, timed(engine.host(), &load)?);
            let remove = engine.words(&["rmi", image::NAME]);
            engine.within(&remove.iter().map(String::as_str).collect::<Vec<_>>())?;
        }
    }
    Ok(())
}

/// Wall time of a command on a host.
fn timed(host: &Host, words: &[String]) -> Result<Duration> {
    let complaints = host.path("/run/bench.err");
    let mut command = host.command(words)?;
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(fs::File::create(&complaints)?);
    let start = Instant::now();
    let status = spawn_in(&host.pid_namespace(), command)?.wait()?;
    let took = start.elapsed();
    let said = || fs::read_to_string(&complaints).unwrap_or_default();
    ensure!(status.success(), "`{}`: {status}: {}", words.join(" "), said().trim());
    Ok(took)
}

impl Engine {
    /// Runs a command on the engine's host to its end.
    fn within(&self, words: &[&str]) -> Result<String> {
        let outcome = self.host().run_with(words, b"", LIMIT)?.success();
        Ok(outcome.with_context(|| self.kind().name().to_owned())?.stdout)
    }
}
