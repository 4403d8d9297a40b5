//! The main job, step by step, with the commands that a person would type.
//!
//! Everything is real: etcd, the kernel's devices, the four programs. Whatever it makes is in a
//! lab, which goes when the demo ends, however it ends.

mod round;
mod show;

use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::container::IMAGE_TAR;
use crate::etcd;
use crate::fabric::{Backend, Fabric, NETWORK};
use crate::interrupt::Interrupt;
use crate::may_build_labs;

use round::Measured;
use show::Show;

/// Arguments of `demo`.
#[derive(Args, Debug)]
pub(crate) struct Demo {
    /// Leave the lab standing at the end
    #[arg(long)]
    keep: bool,
    /// How many hosts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=20))]
    hosts: u8,
}

/// Runs it and says how it went.
pub(crate) fn run(demo: &Demo) -> Result<()> {
    if !may_build_labs() {
        bail!("the demo needs root");
    }
    let start = Instant::now();
    let interrupt = Interrupt::expect()?;
    let mut show = Show::default();
    let mut fabric = prepare(&mut show, demo.hosts.into(), &interrupt)?;
    let rounds = match both_backends(&mut show, &mut fabric) {
        Ok(rounds) => rounds,
        Err(error) => {
            interrupt.explains_failure();
            show.say("\nVERDICT: the main job FAILED");
            return Err(error);
        }
    };
    if demo.keep {
        fabric.keep()?;
        show.say("\nThe lab stands:");
        show.say("  ./lab enter node1     a shell on a host, with all programs at hand");
        show.say("  ./lab down            away with it");
    } else {
        fabric.finish().context("VERDICT: the main job holds, but cleaning up FAILED")?;
    }
    let seconds = start.elapsed().as_secs_f64();
    for Measured { backend, pairs, rate } in rounds {
        let name = backend.name();
        show.say(&format!(
            "{name:<6} {pairs} pairs of containers reach each other, {rate:.0} Mbit/s"
        ));
    }
    show.say(&format!("VERDICT: the main job holds for both backends ({seconds:.1} s)"));
    Ok(())
}

fn prepare(show: &mut Show, hosts: usize, interrupt: &Interrupt) -> Result<Fabric> {
    show.step(&format!("Make {hosts} hosts and the network between them"));
    show.say("(namespaces on this machine; nothing outside them is touched)");
    let mut fabric = Fabric::bare(hosts)?;
    interrupt.ends(fabric.lab().stop()?)?;
    for number in 1..=hosts {
        show.run(fabric.node(number), "ip -4 -br address show dev eth0")?;
    }

    show.step("Start etcd on the first host");
    show.background(fabric.node(1), &etcd::command_line().join(" "));
    fabric.start_etcd()?;
    show.run(fabric.node(1), "ETCDCTL_API=3 etcdctl endpoint health")?;

    show.step("Take in an image on every host: busybox, packed a moment ago");
    for number in 1..=hosts {
        show.run(fabric.node(number), &format!("twill import {IMAGE_TAR} busybox"))?;
    }
    show.run(fabric.node(1), "twill images")?;
    Ok(fabric)
}

fn both_backends(show: &mut Show, fabric: &mut Fabric) -> Result<[Measured; 2]> {
    show.step("Write the network's configuration (udp, flannel's own default)");
    show.run(fabric.node(1), &format!("twillctl network init --network {NETWORK}"))?;
    let udp = round::perform(show, fabric, Backend::Udp)?;

    show.step("Once more, with vxlan: containers and agents end, the configuration changes");
    round::end(show, fabric)?;
    let init = format!("twillctl network init --network {NETWORK} --backend vxlan --force");
    show.run(fabric.node(1), &init)?;
    let vxlan = round::perform(show, fabric, Backend::Vxlan)?;
    Ok([udp, vxlan])
}
