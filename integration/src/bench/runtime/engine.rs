//! The runtimes, each on its host.

use std::fs;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::LIMIT;
use crate::by_hand::say;
use crate::container::IMAGE_TAR;
use crate::docker::Docker;
use crate::host::Host;
use crate::process::Daemon;

/// Whose it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Ours, with the network that it is for.
    #[value(skip)]
    Twill,
    /// Ours, without a network.
    #[value(skip)]
    TwillAlone,
    /// A bundle, without storage and network
    Crun,
    /// Without a daemon, with its bridge
    Podman,
    /// With its daemon and its bridge
    Docker,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Twill => "twill",
            Self::TwillAlone => "twill (none)",
            Self::Crun => "crun",
            Self::Podman => "podman",
            Self::Docker => "docker",
        }
    }
}

/// One of them on a host.
#[derive(Debug)]
pub(super) struct Engine {
    kind: Kind,
    host: Host,
    /// With its options.
    program: Vec<String>,
    /// Ends with it.
    _daemon: Option<Daemon>,
}

const CRUN: [&str; 2] = ["crun", "--cgroup-manager=cgroupfs"];
/// Without systemd.
const PODMAN: [&str; 5] = [
    "podman",
    "--cgroup-manager=cgroupfs",
    "--events-backend=none",
    "--runtime=crun",
    "--log-level=error",
];

impl Engine {
    pub(super) fn twill(kind: Kind, host: &Host) -> Self {
        Self { kind, host: host.clone(), program: owned(&["twill"]), _daemon: None }
    }

    /// Nothing where it is not installed or does not run.
    pub(super) fn other(kind: Kind, host: Host) -> Result<Option<Self>> {
        // Neither crun nor podman wants to see cgroup2 beside cgroup1, where a machine has both.
        host.sh("umount /sys/fs/cgroup/unified 2>/dev/null || true")?;
        let is_there = || host.run(["sh", "-c", &format!("command -v {}", kind.name())]);
        let (program, daemon) = match kind {
            Kind::Docker => match Docker::find() {
                Ok(docker) => (vec![docker.client()], Some(docker.start(&host)?)),
                Err(why) => {
                    say(&format!("docker: {why:#}"));
                    return Ok(None);
                }
            },
            _installed if is_there()?.code != 0 => return Ok(None),
            Kind::Podman => {
                settings(&host)?;
                (owned(&PODMAN), None)
            }
            Kind::Crun => {
                bundle(&host)?;
                (owned(&CRUN), None)
            }
            Kind::Twill | Kind::TwillAlone => return Ok(Some(Self::twill(kind, &host))),
        };
        let engine = Self { kind, host, program, _daemon: daemon };
        if engine.has_images() {
            engine.within(&strings(&engine.words(&["import", IMAGE_TAR, "busybox"])))?;
        }
        let run = engine.run();
        let tried = engine.host.run_with(&run, b"", LIMIT)?;
        if tried.code != 0 {
            say(&format!("{}: {}", run.join(" "), tried.stderr.trim()));
            return Ok(None);
        }
        Ok(Some(engine))
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    /// Does it know images and lists?
    pub(super) fn has_images(&self) -> bool {
        self.kind != Kind::Crun
    }

    /// Is it one that another row is about as well?
    pub(super) fn is_alone(&self) -> bool {
        self.kind == Kind::TwillAlone
    }

    /// A command line of it.
    pub(super) fn words(&self, command: &[&str]) -> Vec<String> {
        let command = command.iter().map(|word| (*word).to_owned());
        self.program.iter().cloned().chain(command).collect()
    }

    /// Runs `true` to its end.
    pub(super) fn run(&self) -> Vec<String> {
        match self.kind {
            Kind::Crun => self.words(&["run", "-b", "/run/bundle", "bench"]),
            Kind::TwillAlone => {
                self.words(&["run", "--rm", "--network", "none", "busybox", "true"])
            }
            _images => self.words(&["run", "--rm", "busybox", "true"]),
        }
    }

    /// The same, as a line of shell that may be run many times at once, with another `$i` each.
    pub(super) fn run_numbered(&self) -> String {
        match self.kind {
            Kind::Crun => self.words(&["run", "-b", "/run/bundle", "bench$i"]).join(" "),
            _images => self.run().join(" "),
        }
    }

    pub(super) fn start(&self, name: &str) -> Result<()> {
        let words = match self.kind {
            Kind::Crun => self.words(&["run", "-d", "-b", "/run/idle", name]),
            Kind::TwillAlone => {
                let network = ["--network", "none", "busybox", "sleep", "10000"];
                self.words(&[&["run", "-d", "--name", &self.own(name)], &network[..]].concat())
            }
            _images => self.words(&["run", "-d", "--name", name, "busybox", "sleep", "10000"]),
        };
        // Whoever is left behind holds what it was given to write to.
        self.within(&["sh", "-c", &format!("{} >/dev/null 2>&1", words.join(" "))]).map(drop)
    }

    pub(super) fn exec(&self, name: &str) -> Vec<String> {
        self.words(&["exec", &self.own(name), "true"])
    }

    pub(super) fn remove(&self, name: &str) -> Result<()> {
        let remove = match self.kind {
            Kind::Crun => ["delete", "-f", name].map(str::to_owned),
            _images => ["rm".to_owned(), "-f".to_owned(), self.own(name)],
        };
        self.within(&strings(&self.words(&strings(&remove)))).map(drop)
    }

    // Two rows share a host.
    fn own(&self, name: &str) -> String {
        if self.is_alone() { format!("{name}-alone") } else { name.to_owned() }
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn strings(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// Two bundles of the lab's image, without a filter of system calls: one ends at once, one idles.
fn bundle(host: &Host) -> Result<()> {
    for (name, command) in [("bundle", &["true"][..]), ("idle", &["sleep", "10000"])] {
        let place = format!("/run/{name}");
        host.sh(&format!("mkdir -p {place}/rootfs && tar -xf {IMAGE_TAR} -C {place}/rootfs"))?;
        host.sh(&format!("cd {place} && crun spec"))?;
        let path = host.path(&format!("{place}/config.json"));
        let mut spec: Value = serde_json::from_slice(&fs::read(&path)?).context("crun's spec")?;
        spec["process"]["args"] = json!(command);
        spec["process"]["terminal"] = json!(false);
        fs::write(&path, spec.to_string())?;
    }
    Ok(())
}

/// Podman on a host that has never seen it, without the right to raise limits.
fn settings(host: &Host) -> Result<()> {
    let place = host.path("/etc/containers");
    fs::create_dir_all(&place)?;
    let policy = json!({ "default": [{ "type": "insecureAcceptAnything" }] });
    fs::write(place.join("policy.json"), policy.to_string())?;
    let limits = "[containers]\ndefault_ulimits = [\"nofile=1024:4096\", \"nproc=4096:4096\"]\n";
    fs::write(place.join("containers.conf"), limits).context("podman's settings")
}
