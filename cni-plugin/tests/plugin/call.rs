//! A host, and calls of the plugin on it.

use std::fs;
use std::hint;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use twill_net::blocking::Kernel;
use twill_net::netns::{Netns, Scratch};

/// The plugin that this crate builds.
pub(crate) const OURS: &str = env!("CARGO_BIN_EXE_twill-cni");
pub(crate) const IPV4: &str = "FLANNEL_NETWORK=10.88.0.0/16\nFLANNEL_SUBNET=10.88.2.1/24\n";
pub(crate) const IPV6: &str =
    "FLANNEL_IPV6_NETWORK=fd00:88::/48\nFLANNEL_IPV6_SUBNET=fd00:88:0:2::1/64\n";

/// A host with the subnet 10.88.2.0/24, if nothing else is said.
pub(crate) struct World {
    pub(crate) directory: TempDir,
    scratch: Scratch,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) exit_code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl World {
    /// `None` (said aloud) without root.
    pub(crate) fn new() -> Option<Self> {
        Self::with_lines(IPV4)
    }

    /// A host of which the agent says this.
    pub(crate) fn with_lines(lines: &str) -> Option<Self> {
        let scratch = Scratch::enter()?;
        let world = Self { directory: tempfile::tempdir().unwrap(), scratch };
        world.lease(lines);
        Some(world)
    }

    /// What the agent does when it holds a subnet.
    pub(crate) fn lease(&self, lines: &str) {
        let text = format!("{lines}FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n");
        fs::write(self.subnet_env(), text).unwrap();
    }

    pub(crate) fn pod(&self) -> Netns {
        self.scratch.another()
    }

    pub(crate) fn subnet_env(&self) -> PathBuf {
        self.directory.path().join("subnet.env")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.directory.path().join("endpoint")
    }

    /// Nobody answers there unless the test does.
    pub(crate) fn agent_socket(&self) -> PathBuf {
        self.directory.path().join("agent.sock")
    }

    /// The network's configuration, as a runtime would send it.
    pub(crate) fn network(&self, version: &str) -> Value {
        json!({
            "cniVersion": version,
            "name": "pods",
            "type": "twill-cni",
            "subnetFile": self.subnet_env(),
            "stateDir": self.state(),
            "agentSocket": self.agent_socket(),
        })
    }

    /// How many addresses are given away.
    pub(crate) fn records(&self) -> usize {
        let files = fs::read_dir(self.state()).into_iter().flatten();
        // Addresses and interface, with a comma between them, and nothing else has one.
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains(',')).count()
    }
}

impl Answer {
    /// The result of a call that succeeded.
    #[track_caller]
    pub(crate) fn result(&self) -> Value {
        assert_eq!(self.exit_code, 0, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap()
    }

    /// Code and message of a call that failed as the specification wants it.
    #[track_caller]
    pub(crate) fn failure(&self) -> (u64, String) {
        assert_eq!(self.exit_code, 1, "{self:?}");
        let error: Value = serde_json::from_str(&self.stdout).unwrap();
        assert!(error["cniVersion"].is_string(), "{error}");
        (error["code"].as_u64().unwrap(), error["msg"].as_str().unwrap().to_owned())
    }

    #[track_caller]
    pub(crate) fn is_silent_success(&self) {
        assert_eq!((self.exit_code, self.stdout.as_str()), (0, ""), "{self:?}");
    }
}

pub(crate) fn add(container: &str, pod: &Netns, network: &Value) -> Answer {
    let netns = pod.path().to_str().unwrap();
    call(&with("ADD", container, &[("CNI_NETNS", netns)]), &network.to_string())
}

pub(crate) fn del(container: &str, network: &Value) -> Answer {
    call(&with("DEL", container, &[]), &network.to_string())
}

/// The names of all links of this namespace but loopback.
pub(crate) fn links() -> Vec<String> {
    let links = Kernel::here().unwrap().links().unwrap().into_iter().map(|link| link.name);
    links.filter(|name| name != "lo").collect()
}

/// The variables of a call about `eth0` of a container.
pub(crate) fn with<'a>(
    verb: &'a str,
    container: &'a str,
    more: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    let mut variables =
        vec![("CNI_COMMAND", verb), ("CNI_CONTAINERID", container), ("CNI_IFNAME", "eth0")];
    variables.extend(more);
    variables
}

pub(crate) fn call(variables: &[(&str, &str)], stdin: &str) -> Answer {
    call_of(Path::new(OURS), variables, stdin)
}

/// A call of any plugin.
pub(crate) fn call_of(plugin: &Path, variables: &[(&str, &str)], stdin: &str) -> Answer {
    let output = start(plugin, variables, stdin).wait_with_output().unwrap();
    Answer {
        exit_code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// What a person gets who asks for it.
#[expect(clippy::disallowed_methods, reason = "the plugin is a program to be called")]
pub(crate) fn help() -> Answer {
    let output = Command::new(OURS).env_clear().arg("--help").output().unwrap();
    Answer {
        exit_code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[expect(clippy::disallowed_methods, reason = "the plugin is a program to be called")]
fn start(plugin: &Path, variables: &[(&str, &str)], stdin: &str) -> Child {
    let mut command = Command::new(plugin);
    command.env_clear().envs(variables.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A plugin that answers before it has read all is no failure of the test.
    drop(child.stdin.take().unwrap().write_all(stdin.as_bytes()));
    child
}

/// Starts a call and kills it after some time.
pub(crate) fn kill(variables: &[(&str, &str)], stdin: &str, after: Duration) {
    let mut child = start(Path::new(OURS), variables, stdin);
    let deadline = Instant::now() + after;
    while Instant::now() < deadline {
        hint::spin_loop();
    }
    child.kill().unwrap();
    child.wait().unwrap();
}
