//! What is mounted in a container besides its root. Pure.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::spec::{Inputs, Space};
use super::storage::{From, Ready};
use crate::container::isolation::Ipc;

/// All mounts, in the order in which they are made.
pub(super) fn render(inputs: &Inputs<'_>) -> Vec<Value> {
    let quiet = ["nosuid", "noexec", "nodev"];
    let mount = |target: &str, kind: &str, options: &[&str]| json!({"destination": target, "type": kind, "source": kind, "options": options});
    let with = |options: &[&'static str]| [&quiet, options].concat();
    let privileged = inputs.record.security.privileged;
    let mut mounts = vec![
        mount("/proc", "proc", &quiet),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", &if privileged { quiet.to_vec() } else { with(&["ro"]) }),
        mount("/dev/mqueue", "mqueue", &quiet),
    ];
    mounts.extend(shared_memory(inputs, mount));
    mounts.extend(cgroups(inputs.cgroups_v1, if privileged { "rw" } else { "ro" }));
    let mut options = vec!["rbind", "rprivate"];
    options.extend(inputs.record.isolation.read_only.then_some("ro"));
    for name in ["resolv.conf", "hostname", "hosts"] {
        mounts.push(json!({
            "destination": format!("/etc/{name}"),
            "type": "bind",
            "source": inputs.files.join(name),
            "options": options,
        }));
    }
    let is_replaced = |mount: &Value| {
        inputs.storage.iter().any(|ready| json!(ready.target) == mount["destination"])
    };
    mounts.retain(|mount| !is_replaced(mount));
    mounts.extend(inputs.storage.iter().map(ready));
    // Each below those that it lies in; all else stays as it is.
    let depth = |mount: &Value| {
        mount["destination"].as_str().map_or(0, |path| Path::new(path).components().count())
    };
    mounts.sort_by_key(depth);
    mounts
}

fn ready(ready: &Ready) -> Value {
    match &ready.from {
        From::Host(path, recursive) => {
            let mut options = vec![if *recursive { "rbind" } else { "bind" }, "rprivate"];
            // What is mounted below it is no more writable than itself.
            options.extend(ready.read_only.then_some(if *recursive { "rro" } else { "ro" }));
            json!({"destination": ready.target, "type": "bind", "source": path, "options": options})
        }
        From::Memory(options) => {
            json!({"destination": ready.target, "type": "tmpfs", "source": "tmpfs", "options": options})
        }
    }
}

fn shared_memory(
    inputs: &Inputs<'_>,
    mount: impl Fn(&str, &str, &[&str]) -> Value,
) -> Option<Value> {
    let target = "/dev/shm";
    let isolation = &inputs.record.isolation;
    let bound = |source: &Path| json!({"destination": target, "type": "bind", "source": source, "options": ["bind", "rprivate", "nosuid", "noexec", "nodev"]});
    match (&isolation.ipc, &inputs.shared.ipc) {
        (Ipc::None, _) => None,
        (Ipc::Host, _) => Some(bound(Path::new(target))),
        (Ipc::Container(_), Space::Of(_)) => inputs.shared.shm.as_deref().map(bound),
        _ => {
            let size = format!("size={}", isolation.shm());
            Some(mount(target, "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", &size]))
        }
    }
}

/// libcontainer would mount cgroup v1 for writing whatever it is told, and so let a container lift
/// its own limits. Its own directories, bound read-only, show the same.
fn cgroups(v1: &[PathBuf], access: &str) -> Vec<Value> {
    let root = "/sys/fs/cgroup";
    if v1.is_empty() {
        return vec![json!({
            "destination": root,
            "type": "cgroup",
            "source": "cgroup",
            "options": [access, "nosuid", "noexec", "nodev"],
        })];
    }
    let mut mounts = vec![json!({
        "destination": root,
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["nosuid", "noexec", "nodev", "mode=755"],
    })];
    for directory in v1 {
        // <mount point>/<parent>/<id>: the controller is the name of the mount point.
        let controller = directory.strip_prefix(root).ok().and_then(|rest| rest.iter().next());
        let Some(controller) = controller else { continue };
        mounts.push(json!({
            "destination": Path::new(root).join(controller),
            "type": "bind",
            "source": directory,
            "options": ["bind", access, "nosuid", "noexec", "nodev"],
        }));
    }
    mounts
}
