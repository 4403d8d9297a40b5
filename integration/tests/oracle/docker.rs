//! Two hosts of a lab: one with Docker's daemon, one with `twill`. Both have the same image, and the
//! bridge of both has the same addresses.

use std::env;
use std::fs;

use anyhow::{Result, bail, ensure};
use twill_integration::docker::{Docker, RELEASE, START};
use twill_integration::{Daemon, Lab, image};

use crate::script::Engine;

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
        let daemon = docker.start(&oracle)?;
        fs::create_dir(own.path("/run/flannel"))?;
        fs::write(own.path("/run/flannel/subnet.env"), SUBNET)?;
        let docker = Engine { host: oracle, program: docker.client() };
        let twill = Engine { host: own, program: "twill".to_owned() };
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

#[expect(clippy::print_stderr, reason = "a test that did not run must say so")]
fn find() -> Result<Option<Docker>> {
    let why = match Docker::find() {
        Ok(docker) => return Ok(Some(docker)),
        Err(why) => format!("{why:#}"),
    };
    if env::var_os("REQUIRE_DOCKER").is_some_and(|value| value == "1") {
        bail!("REQUIRE_DOCKER=1, but there is no Docker {RELEASE}*: {why}");
    }
    eprintln!("SKIPPED: no Docker {RELEASE}* to compare with: {why}");
    Ok(None)
}
