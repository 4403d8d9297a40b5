//! containerd as Debian packages it: unpacked by `scripts/deps.sh test`, and put onto a machine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use twill_integration::container::IMAGE_TAR;
use twill_integration::{Machine, wait_until};

use super::cri::Cri;
use super::world::{LIMIT, SERVE};

/// As docs/cni.md has it. A machine of a lab may lack the right to shield processes from want of memory.
const CONFIGURATION: &str = r#"version = 2

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "registry.k8s.io/pause:3.6"
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "/etc/cni/net.d"
"#;

const FILES: [&str; 5] = [
    "/lib/systemd/system/containerd.service",
    "/usr/bin/containerd",
    "/usr/bin/containerd-shim-runc-v2",
    "/usr/bin/ctr",
    "/usr/sbin/runc",
];

/// Where its files are; without them, says so, and with `REQUIRE_MACHINES=1` that is a failure.
#[expect(clippy::print_stderr, reason = "a skipped test has to be loud")]
pub(super) fn find() -> Option<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/containerd");
    if FILES.iter().all(|file| directory.join(&file[1..]).exists()) {
        return Some(directory);
    }
    let required = std::env::var_os("REQUIRE_MACHINES").is_some_and(|value| value == "1");
    assert!(!required, "REQUIRE_MACHINES=1, but there is no {}", directory.display());
    eprintln!("SKIPPED: no {}; scripts/deps.sh test unpacks it", directory.display());
    None
}

/// Puts it there, starts it as a unit, and gives it the image that each pod begins with: ours, which serves.
pub(super) fn set_up(machine: &Machine, from: &Path) -> Result<Cri> {
    for file in FILES {
        machine.put(&from.join(&file[1..]), file).with_context(|| format!("cannot put {file}"))?;
    }
    let host = machine.host();
    fs::create_dir_all(host.path("/etc/containerd"))?;
    fs::write(host.path("/etc/containerd/config.toml"), CONFIGURATION)?;
    let pause = "registry.k8s.io/pause:3.6";
    host.ok(["twill", "import", "-c", SERVE, IMAGE_TAR, pause])?;
    host.ok(["twill", "save", "-o", "/root/pause.tar", pause])?;
    host.ok(["systemctl", "daemon-reload"])?;
    host.ok(["systemctl", "enable", "--now", "containerd"])?;
    host.ok(["ctr", "-n", "k8s.io", "images", "import", "/root/pause.tar"])?;
    let cri = connect(machine)?;
    host.ok(["twill", "rmi", pause])?;
    Ok(cri)
}

/// Waits until it would take pods.
pub(super) fn connect(machine: &Machine) -> Result<Cri> {
    let cri = Cri::at(&machine.host().path("/run/containerd/containerd.sock"))?;
    let ready = || cri.is_ready().is_ok_and(|ready| ready);
    wait_until("containerd would take pods", LIMIT, ready)?;
    Ok(cri)
}
