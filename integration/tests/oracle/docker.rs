//! Two hosts of a lab: one with Docker's daemon, one with `twill`. Both have the same image, and the
//! bridge of both has the same addresses.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use twill_integration::{Daemon, Host, Lab, image, wait_until};

use crate::script::Engine;

/// The one that the cases and the list of differences are about: that of Debian 12.
const RELEASE: &str = "20.10.";

/// How long the daemon may take to come up on a busy machine.
const START: Duration = Duration::from_mins(1);

/// The host's subnet, as the agent writes it and as Docker is told.
const SUBNET: &str = "FLANNEL_NETWORK=172.17.0.0/16\nFLANNEL_SUBNET=172.17.0.1/16\nFLANNEL_MTU=1500\n\
    FLANNEL_IPMASQ=true\n";

/// Busybox, somebody to be, and somewhere to go.
const IMAGE: &str = "mkdir /run/root && cd /run/root && tar xf /run/lab/share/busybox.tar \
    && printf 'www:x:33:33::/srv:/bin/sh\\n' >>etc/passwd && printf 'www:x:33:\\nadm:x:4:www\\n' >>etc/group \
    && mkdir -p srv var/data && echo kept >var/data/file && tar cf /run/bb.tar . && rm -r /run/root";

/// Both sides.
pub(crate) struct Pair {
    lab: Lab,
    /// Docker.
    pub(crate) docker: Engine,
    /// Twill.
    pub(crate) twill: Engine,
    daemon: Daemon,
}

impl Pair {
    /// Starts both; `None`, said aloud, where there is no such Docker.
    pub(crate) fn start() -> Result<Option<Self>> {
        let Some(docker) = find()? else { return Ok(None) };
        let lab = Lab::new(2)?;
        image::write(&lab.share().join("busybox.tar"))?;
        let (oracle, own) = (lab.node(1).clone(), lab.node(2).clone());
        let daemon = daemon(&oracle, &docker)?;
        fs::create_dir(own.path("/run/flannel"))?;
        fs::write(own.path("/run/flannel/subnet.env"), SUBNET)?;
        let program = docker.join("usr/bin/docker").display().to_string();
        let docker = Engine { host: oracle, program };
        let twill = Engine { host: own, program: "twill".to_owned() };
        wait_until("Docker answers", START, || {
            !daemon.is_running() || docker.host.path("/run/docker.sock").exists()
        })?;
        ensure!(daemon.is_running(), "dockerd has ended: {}", daemon.transcript());
        for Engine { host, program } in [&docker, &twill] {
            host.sh(IMAGE)?;
            host.ok([program, "import", "-c", "CMD [\"sh\"]", "/run/bb.tar", "bb"])?;
        }
        Ok(Some(Self { lab, docker, twill, daemon }))
    }

    /// Takes both down; nothing may be left of them.
    pub(crate) fn finish(self) -> Result<()> {
        let code = self.daemon.terminate(START)?;
        ensure!(code == 0, "dockerd ended with {code}");
        self.lab.finish()
    }
}

/// Docker's own directory, unpacked by `scripts/deps.sh test`.
#[expect(clippy::print_stderr, reason = "a test that did not run must say so")]
fn find() -> Result<Option<PathBuf>> {
    let directory = match env::var_os("TWILL_DOCKER_DIR") {
        Some(directory) => PathBuf::from(directory),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/docker"),
    };
    let why = match release(&directory) {
        Ok(release) if release.contains(RELEASE) => return Ok(Some(directory.canonicalize()?)),
        Ok(release) => format!("it is {}", release.trim()),
        Err(error) => format!("{error:#}"),
    };
    let required = env::var_os("REQUIRE_DOCKER").is_some_and(|value| value == "1");
    if required {
        bail!("REQUIRE_DOCKER=1, but there is no Docker {RELEASE}*: {why}");
    }
    eprintln!(
        "SKIPPED: no Docker {RELEASE}* to compare with, `scripts/deps.sh test` unpacks it: {why}"
    );
    Ok(None)
}

fn release(directory: &Path) -> Result<String> {
    let dockerd = directory.join("usr/sbin/dockerd");
    let output = Command::new(&dockerd)
        .arg("--version")
        .env("LD_LIBRARY_PATH", libraries(directory))
        .output()
        .with_context(|| format!("cannot run {}", dockerd.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn libraries(directory: &Path) -> String {
    format!(
        "{0}/usr/lib/{1}-linux-gnu:{0}/lib/{1}-linux-gnu",
        directory.display(),
        env::consts::ARCH
    )
}

/// On a machine of its own, all of this would be the service's.
fn daemon(host: &Host, docker: &Path) -> Result<Daemon> {
    let own = docker.display();
    let path = format!(
        "PATH={own}/usr/sbin:{own}/usr/bin:{own}/sbin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    );
    let libraries = format!("LD_LIBRARY_PATH={}", libraries(docker));
    let command = [
        "env",
        &path,
        &libraries,
        "dockerd",
        "--host=unix:///run/docker.sock",
        "--bip=172.17.0.1/16",
        // A network of IPv4, as that of the other side.
        "--ip=0.0.0.0",
        "--exec-opt=native.cgroupdriver=cgroupfs",
        // What a machine may lack the right for.
        "--default-ulimit=nofile=20000:20000",
        "--oom-score-adjust=0",
    ];
    host.spawn("dockerd", command)
}
