//! How long a container takes, beside others' containers, and a pod's network.

use std::fs::{self, File};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::samples::Samples;
use crate::by_hand::say;
use crate::container::{CNI_CONFIGURATION, IMAGE_TAR, cni_environment};
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

/// The same with the programs of others, on a host without an agent: podman's own network is the
/// lab's, 10.88.0.0/16.
pub(super) fn of_others(host: &Host) -> Result<()> {
    // Neither crun nor podman wants to see cgroup2 beside cgroup1, where a machine has both.
    host.sh("umount /sys/fs/cgroup/unified 2>/dev/null || true")?;
    if bundle(host)? {
        let crun = ["crun", "--cgroup-manager=cgroupfs", "run", "-b", "/run/bundle", "bench"];
        series(host, ("crun run (no network, nothing stored)", ""), &crun)?;
    }
    if podman(host)? {
        let podman = [&PODMAN[..], &["run", "--rm", "bench", "true"]].concat();
        series(host, ("podman run --rm bench true (bridge)", ""), &podman)?;
    }
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

// A bundle of the same image for crun; `false` where crun is not installed.
fn bundle(host: &Host) -> Result<bool> {
    if host.run(["sh", "-c", "command -v crun"])?.code != 0 {
        return Ok(false);
    }
    host.sh(&format!("mkdir -p /run/bundle/rootfs && tar -xf {IMAGE_TAR} -C /run/bundle/rootfs"))?;
    host.sh("cd /run/bundle && crun spec")?;
    let path = host.path("/run/bundle/config.json");
    let mut spec: Value = serde_json::from_slice(&fs::read(&path)?).context("crun's spec")?;
    spec["process"]["args"] = json!(["true"]);
    spec["process"]["terminal"] = json!(false);
    fs::write(&path, spec.to_string())?;
    Ok(true)
}

/// Podman without systemd, in a host that has never seen it.
const PODMAN: [&str; 5] = [
    "podman",
    "--cgroup-manager=cgroupfs",
    "--events-backend=none",
    "--runtime=crun",
    "--log-level=error",
];

// The same image for podman; `false` where it is not installed or does not run here.
fn podman(host: &Host) -> Result<bool> {
    if host.run(["sh", "-c", "command -v podman"])?.code != 0 {
        return Ok(false);
    }
    fs::create_dir_all(host.path("/etc/containers"))?;
    let policy = json!({ "default": [{ "type": "insecureAcceptAnything" }] });
    fs::write(host.path("/etc/containers/policy.json"), policy.to_string())?;
    let import = [&PODMAN[..], &["import", IMAGE_TAR, "bench"]].concat();
    let tried = [&PODMAN[..], &["run", "--rm", "bench", "true"]].concat();
    for step in [import, tried] {
        let ended = host.run(&step)?;
        if ended.code != 0 {
            say(&format!("podman does not run here: {}", ended.stderr.trim()));
            return Ok(false);
        }
    }
    Ok(true)
}
