//! How long a container takes, and a pod's network.

use std::fs::{self, File};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Result, ensure};

use super::samples::Samples;
use crate::container::{CNI_CONFIGURATION, cni_environment};
use crate::enter::spawn_in;
use crate::host::Host;

/// `run --rm busybox true`, with a bridge where there is one.
pub(super) fn run(host: &Host) -> Result<()> {
    series(host, ("floor: `true` on a host, without a container", ""), &["true"])?;
    let twill = ["twill", "run", "--rm", "busybox", "true"];
    series(host, ("twill run --rm busybox true (bridge)", "90 ms"), &twill)?;
    let none = ["twill", "run", "--rm", "--network", "none", "busybox", "true"];
    series(host, ("twill run --rm --network none busybox true", ""), &none)?;
    Ok(())
}

/// ADD and DEL of `twill-cni`.
pub(super) fn plugin(host: &Host) -> Result<()> {
    let (mut add, mut delete) = (Samples::default(), Samples::default());
    host.ok(["ip", "netns", "add", "bench"])?;
    for _ in 0..50 {
        add.add(cni(host, "ADD")?);
        delete.add(cni(host, "DEL")?);
    }
    host.ok(["ip", "netns", "delete", "bench"])?;
    add.print("twill-cni ADD", "15 ms");
    delete.print("twill-cni DEL", "");
    Ok(())
}

fn cni(host: &Host, verb: &str) -> Result<std::time::Duration> {
    let input = host.path("/run/bench.json");
    fs::write(&input, CNI_CONFIGURATION)?;
    let mut command = host.command(&["twill-cni".to_owned()])?;
    command.envs(cni_environment(verb, "bench"));
    let output = host.path("/run/bench.out");
    command.stdin(File::open(&input)?).stdout(File::create(&output)?).stderr(Stdio::null());
    let start = Instant::now();
    let status = spawn_in(&host.pid_namespace(), command)?.wait()?;
    ensure!(status.success(), "CNI {verb} failed: {}", fs::read_to_string(output)?);
    Ok(start.elapsed())
}

fn series(host: &Host, (name, wanted): (&str, &str), argv: &[&str]) -> Result<()> {
    let words: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
    let mut samples = Samples::default();
    for _ in 0..20 {
        let mut command = host.command(&words)?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let start = Instant::now();
        let status = spawn_in(&host.pid_namespace(), command)?.wait()?;
        samples.add(start.elapsed());
        ensure!(status.success(), "{name} failed: {status}");
    }
    samples.print(name, wanted);
    Ok(())
}
