//! Docker as Debian packages it, unpacked and not installed, and its daemon on a host of a lab.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::host::Host;
use crate::process::Daemon;
use crate::wait::wait_until;

/// How long the daemon may take to come up, and to end, on a busy machine.
pub const START: Duration = Duration::from_mins(1);

/// That of Debian 12.
pub const RELEASE: &str = "20.10.";

/// Where its files are.
#[derive(Clone, Debug)]
pub struct Docker {
    directory: PathBuf,
}

impl Docker {
    /// The one of [`RELEASE`] that `scripts/deps.sh` has unpacked, or that `TWILL_DOCKER_DIR` names.
    ///
    /// # Errors
    /// Where there is none; the message says why.
    pub fn find() -> Result<Self> {
        let directory = match env::var_os("TWILL_DOCKER_DIR") {
            Some(directory) => PathBuf::from(directory),
            None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/docker"),
        };
        let directory = directory
            .canonicalize()
            .with_context(|| format!("no {}: scripts/deps.sh unpacks it", directory.display()))?;
        let found = Self { directory };
        let said = found.version()?;
        ensure!(said.contains(RELEASE), "it is {}, and not {RELEASE}*", said.trim());
        Ok(found)
    }

    /// Its command line.
    pub fn client(&self) -> String {
        self.directory.join("usr/bin/docker").display().to_string()
    }

    /// Starts its daemon, as its unit would on a machine of its own; it answers where its clients ask by
    /// themselves.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(&self, host: &Host) -> Result<Daemon> {
        let own = self.directory.display();
        let path = format!(
            "PATH={own}/usr/sbin:{own}/usr/bin:{own}/sbin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        );
        let libraries = format!("LD_LIBRARY_PATH={}", self.libraries());
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
        let daemon = host.spawn("dockerd", command)?;
        wait_until("Docker answers", START, || {
            !daemon.is_running() || host.path("/run/docker.sock").exists()
        })?;
        ensure!(daemon.is_running(), "dockerd has ended: {}", daemon.transcript());
        Ok(daemon)
    }

    fn version(&self) -> Result<String> {
        let dockerd = self.directory.join("usr/sbin/dockerd");
        let output = Command::new(&dockerd)
            .arg("--version")
            .env("LD_LIBRARY_PATH", self.libraries())
            .output()
            .with_context(|| format!("cannot run {}", dockerd.display()))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn libraries(&self) -> String {
        let (own, kind) = (self.directory.display(), env::consts::ARCH);
        format!("{own}/usr/lib/{kind}-linux-gnu:{own}/lib/{kind}-linux-gnu")
    }
}
