//! `twill info`: this host and what is on it.

use std::fs;

use serde_json::{Value, json};

use crate::cgroup::Hierarchies;
use crate::commands::Code;
use crate::container::{Store, reap, resources};
use crate::template::Template;
use crate::{Paths, human, image, output};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  twill info
  twill info -f '{{.ContainersRunning}} of {{.Containers}} run'
  twill info -f json")]
pub struct Args {
    /// What is printed: a Go template, or `json`
    #[arg(short, long, value_name = "TEMPLATE", value_parser = Template::of_format)]
    pub format: Option<Template>,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let all = all(paths)?;
    if let Some(template) = &args.format {
        output::line(template.render(&all.into())?);
        return Ok(Code::OK);
    }
    lines(&all).iter().for_each(output::line);
    Ok(Code::OK)
}

/// In Docker's field names.
fn all(paths: &Paths) -> anyhow::Result<Value> {
    let containers = reap::settle_all(&Store::new(paths))?;
    let running = containers.iter().filter(|one| one.state.status.is_alive()).count();
    let paused = containers.iter().filter(|one| one.state.paused).count();
    let images = image::Store::open(paths)?.list()?.len();
    let version = if Hierarchies::here()?.is_unified() { "2" } else { "1" };
    let uname = rustix::system::uname();
    Ok(json!({
        "Containers": containers.len(),
        "ContainersRunning": running - paused,
        "ContainersPaused": paused,
        "ContainersStopped": containers.len() - running,
        "Images": images,
        "Driver": "overlay2",
        "LoggingDriver": "json-file",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": version,
        "SecurityOptions": ["name=seccomp,profile=builtin"],
        "KernelVersion": uname.release().to_string_lossy(),
        "OperatingSystem": operating_system(),
        "OSType": "linux",
        "Architecture": std::env::consts::ARCH,
        "NCPU": resources::processors(),
        "MemTotal": memory_total(),
        "Name": uname.nodename().to_string_lossy(),
        "DockerRootDir": paths.root(),
        "ServerVersion": env!("CARGO_PKG_VERSION"),
        "Subnets": subnets(paths),
    }))
}

/// Where this host is on the overlay; nothing while its agent has not said so.
fn subnets(paths: &Paths) -> Vec<String> {
    let env = reap::host(paths).read_env();
    env.map_or_else(
        |_| Vec::new(),
        |env| env.blocks().map(|blocks| blocks.subnet.to_string()).collect(),
    )
}

fn operating_system() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}

/// Bytes.
#[must_use]
pub fn memory_total() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kibibytes.unwrap_or(0).saturating_mul(1024)
}

fn lines(all: &Value) -> Vec<String> {
    let value = |field: &str| match &all[field] {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    };
    let memory = human::binary_size(all["MemTotal"].as_u64().unwrap_or(0));
    let plain = [
        ("Containers", "Containers"),
        (" Running", "ContainersRunning"),
        (" Paused", "ContainersPaused"),
        (" Stopped", "ContainersStopped"),
        ("Images", "Images"),
        ("Twill Version", "ServerVersion"),
        ("Subnets", "Subnets"),
        ("Storage Driver", "Driver"),
        ("Logging Driver", "LoggingDriver"),
        ("Cgroup Driver", "CgroupDriver"),
        ("Cgroup Version", "CgroupVersion"),
        ("Kernel Version", "KernelVersion"),
        ("Operating System", "OperatingSystem"),
        ("OSType", "OSType"),
        ("Architecture", "Architecture"),
        ("CPUs", "NCPU"),
    ];
    let mut lines: Vec<String> =
        plain.iter().map(|(title, field)| format!("{title}: {}", value(field))).collect();
    lines.push(format!("Total Memory: {memory}"));
    lines.push(format!("Name: {}", value("Name")));
    lines.push(format!("Root Dir: {}", value("DockerRootDir")));
    lines
}
