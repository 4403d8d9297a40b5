//! Plugins that are called one after the other, on a host of their own.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use twill_net::netns::{Netns, Scratch};

/// A directory that is gone when it is dropped.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("twill-bench-cni-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // What stays lies where everybody may tidy up.
        drop(fs::remove_dir_all(&self.0));
    }
}

/// What a runtime asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verb {
    Add,
    Del,
}

impl Verb {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
        }
    }
}

/// A list, and where it is called.
#[derive(Debug)]
pub(super) struct Chain {
    name: &'static str,
    host: Netns,
    /// Each with its program.
    plugins: Vec<(PathBuf, Value)>,
    full: bool,
    /// What the last ADD answered, for the DEL.
    result: Value,
    /// Gone with the chain.
    directory: Temporary,
}

impl Chain {
    /// Ours, alone or with all that it does besides.
    pub(super) fn ours(program: &Path, scratch: &Scratch, full: bool) -> Result<Self> {
        let directory = Temporary::new()?;
        let subnet_env = directory.path().join("subnet.env");
        let text = "FLANNEL_NETWORK=10.88.0.0/16\nFLANNEL_SUBNET=10.88.0.1/22\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
        fs::write(&subnet_env, text)?;
        let plugin = json!({
            "type": "twill-cni", "subnetFile": subnet_env,
            "stateDir": directory.path().join("endpoint"),
        });
        let name = if full { "twill-cni with ports and bandwidth" } else { "twill-cni" };
        let plugins = vec![(program.to_owned(), plugin)];
        Ok(Self::new((name, full), scratch.another(), plugins, directory))
    }

    /// The reference plugins that do the same.
    pub(super) fn debian(programs: &Path, scratch: &Scratch, full: bool) -> Result<Self> {
        let directory = Temporary::new()?;
        let mut plugins = vec![(
            programs.join("bridge"),
            json!({
                "type": "bridge", "bridge": "cni0", "mtu": 1450, "isDefaultGateway": true,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local", "ranges": [[{ "subnet": "10.89.0.0/22" }]],
                    "dataDir": directory.path().join("host-local"), "routes": [{ "dst": "10.89.0.0/16" }],
                },
            }),
        )];
        if full {
            plugins.push((programs.join("portmap"), json!({ "type": "portmap" })));
            plugins.push((programs.join("firewall"), json!({ "type": "firewall" })));
            plugins.push((programs.join("bandwidth"), json!({ "type": "bandwidth" })));
        }
        let name =
            if full { "bridge, portmap, firewall, bandwidth" } else { "bridge with host-local" };
        Ok(Self::new((name, full), scratch.another(), plugins, directory))
    }

    fn new(
        (name, full): (&'static str, bool),
        host: Netns,
        plugins: Vec<(PathBuf, Value)>,
        directory: Temporary,
    ) -> Self {
        Self { name, host, plugins, full, result: Value::Null, directory }
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// All plugins: in order to join, and the other way round to take off, with what the join has answered.
    pub(super) fn call(&mut self, verb: Verb, (number, pod): (u32, &Netns)) -> Result<()> {
        if verb == Verb::Del {
            let result = self.result.clone();
            for (program, plugin) in self.plugins.iter().rev() {
                self.one((program, plugin), (verb, number, pod), Some(&result))?;
            }
            return Ok(());
        }
        let mut result = None;
        for (program, plugin) in &self.plugins {
            result = Some(self.one((program, plugin), (verb, number, pod), result.as_ref())?);
        }
        self.result = result.unwrap_or_default();
        Ok(())
    }

    /// Removes the pair of the pod that was joined last, and nothing else of it.
    pub(super) fn drop_pair(&self) -> Result<()> {
        let name = self.result["interfaces"][1]["name"].as_str().context("no pair")?;
        let mut command = Command::new("ip");
        command.args(["link", "delete", name]);
        let status = self.host.run(|| command.status())??;
        ensure!(status.success(), "ip link delete {name}: {status}");
        Ok(())
    }

    /// A chain of one, from any thread, without an answer of before.
    pub(super) fn call_once(&self, verb: Verb, (number, pod): (u32, &Netns)) -> Result<()> {
        let (program, plugin) = self.plugins.first().context("no plugin")?;
        self.one((program, plugin), (verb, number, pod), None).map(drop)
    }

    /// Nobody has left a record.
    pub(super) fn is_clean(&self) -> Result<()> {
        let files = fs::read_dir(self.directory.path().join("endpoint"))?;
        let names = files.map(|file| Ok(file?.file_name().to_string_lossy().into_owned()));
        let names: Vec<String> = names.collect::<Result<_>>()?;
        let left: Vec<&String> = names.iter().filter(|name| name.contains(',')).collect();
        ensure!(left.is_empty(), "left behind: {left:?}");
        Ok(())
    }

    fn one(
        &self,
        (program, plugin): (&Path, &Value),
        (verb, number, pod): (Verb, u32, &Netns),
        result: Option<&Value>,
    ) -> Result<Value> {
        let mut config = plugin.clone();
        config["cniVersion"] = json!("1.0.0");
        config["name"] = json!("bench");
        if self.full {
            // Over the whole range: a port that was in use a moment ago is no other measure.
            let port = 20_000 + number % 40_000;
            config["runtimeConfig"] = json!({
                "portMappings": [{ "hostPort": port, "containerPort": 80, "protocol": "tcp", "hostIP": "" }],
                "bandwidth": {
                    "ingressRate": 800_000_000, "ingressBurst": 80_000_000,
                    "egressRate": 800_000_000, "egressBurst": 80_000_000,
                },
            });
        }
        if let Some(result) = result {
            config["prevResult"] = result.clone();
        }
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("CNI_COMMAND", verb.word()).env("CNI_CONTAINERID", format!("pod-{number}"));
        command.env("CNI_NETNS", pod.path()).env("CNI_IFNAME", "eth0");
        command.env("CNI_PATH", program.parent().unwrap_or(Path::new("/")));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = self.host.run(|| {
            let mut child = command.spawn()?;
            let mut stdin = child.stdin.take().context("no pipe")?;
            stdin.write_all(config.to_string().as_bytes())?;
            drop(stdin);
            Ok::<_, anyhow::Error>(child.wait_with_output()?)
        })??;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{} {}: {said}", program.display(), verb.word());
        Ok(serde_json::from_str(&said).unwrap_or_default())
    }
}
