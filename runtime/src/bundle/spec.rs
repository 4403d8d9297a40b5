//! The OCI's config.json of a container. Pure: values in, JSON out.
//!
//! Written as the JSON that it is: the builders of `oci-spec` fill what is left out with values that
//! are not Docker's. A test reads it back with `oci-spec`.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::user::Identity;
use crate::container::{Network, Record};
use crate::security::{MASKED_PATHS, READONLY_PATHS, capabilities, seccomp};

/// What systemd gives services: programs that loop over all descriptors stay fast.
const OPEN_FILES_SOFT: u64 = 1024;
const OPEN_FILES_HARD: u64 = 524_288;

/// What the record does not say.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    /// The container.
    pub record: &'a Record,
    /// Who its first process is.
    pub identity: &'a Identity,
    /// Its mounted root file system.
    pub rootfs: &'a Path,
    /// Where its hosts, hostname and resolv.conf lie.
    pub files: &'a Path,
    /// The most descriptors that we may allow; the kernel refuses more.
    pub open_files_limit: u64,
    /// Does the kernel count swap?
    pub counts_swap: bool,
    /// Its cgroups, on cgroup v1.
    pub cgroups_v1: &'a [PathBuf],
}

/// The whole config.json.
#[must_use]
pub fn render(inputs: &Inputs<'_>) -> Value {
    let Inputs { record, rootfs, .. } = inputs;
    json!({
        "ociVersion": "1.0.2",
        "root": {"path": rootfs, "readonly": false},
        "hostname": record.hostname,
        "process": process(inputs),
        "mounts": mounts(inputs),
        "linux": linux(inputs),
    })
}

/// The environment of a container's process: Docker's order, the user's values last.
#[must_use]
pub fn environment(record: &Record, identity: &Identity) -> Vec<String> {
    let mut all = Vec::new();
    let mut put = |entry: &str| {
        let name = entry.split('=').next().unwrap_or(entry);
        let same = |other: &String| other.split('=').next() == Some(name);
        match all.iter().position(same) {
            Some(index) => entry.clone_into(&mut all[index]),
            None => all.push(entry.to_owned()),
        }
    };
    put("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    put(&format!("HOSTNAME={}", record.hostname));
    if record.tty {
        put("TERM=xterm");
    }
    record.env.iter().for_each(|entry| put(entry));
    if !record.env.iter().any(|entry| entry.starts_with("HOME=")) {
        put(&format!("HOME={}", identity.home));
    }
    all
}

/// How many descriptors a process may have, softly and hard, if we may allow so many.
#[must_use]
pub fn open_files(limit: u64) -> (u64, u64) {
    let hard = OPEN_FILES_HARD.min(limit);
    (OPEN_FILES_SOFT.min(hard), hard)
}

fn process(inputs: &Inputs<'_>) -> Value {
    let Inputs { record, identity, open_files_limit, .. } = inputs;
    let (soft, hard) = open_files(*open_files_limit);
    json!({
        "terminal": record.tty,
        "user": {"uid": identity.uid, "gid": identity.gid, "additionalGids": identity.groups},
        "args": record.command,
        "env": environment(record, identity),
        "cwd": record.workdir,
        // Neither inheritable nor ambient: a user who is not root gets none of them.
        "capabilities": {
            "bounding": capabilities::DEFAULT,
            "effective": capabilities::DEFAULT,
            "permitted": capabilities::DEFAULT,
        },
        // No `noNewPrivileges`, not even a false one: libcontainer would load seccomp too late.
        "rlimits": [
            {"type": "RLIMIT_NOFILE", "soft": soft, "hard": hard},
        ],
    })
}

fn mounts(inputs: &Inputs<'_>) -> Vec<Value> {
    let quiet = ["nosuid", "noexec", "nodev"];
    let mount = |target: &str, kind: &str, options: &[&str]| json!({"destination": target, "type": kind, "source": kind, "options": options});
    let with = |options: &[&'static str]| [&quiet, options].concat();
    let mut mounts = vec![
        mount("/proc", "proc", &quiet),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", &with(&["ro"])),
        mount("/dev/mqueue", "mqueue", &quiet),
        mount("/dev/shm", "tmpfs", &with(&["mode=1777", "size=65536k"])),
    ];
    mounts.extend(cgroup_mounts(inputs.cgroups_v1));
    for name in ["resolv.conf", "hostname", "hosts"] {
        mounts.push(json!({
            "destination": format!("/etc/{name}"),
            "type": "bind",
            "source": inputs.files.join(name),
            "options": ["rbind", "rprivate"],
        }));
    }
    mounts
}

/// libcontainer would mount cgroup v1 for writing whatever it is told, and so let a container lift
/// its own limits. Its own directories, bound read-only, show the same.
fn cgroup_mounts(v1: &[PathBuf]) -> Vec<Value> {
    let root = "/sys/fs/cgroup";
    if v1.is_empty() {
        return vec![json!({
            "destination": root,
            "type": "cgroup",
            "source": "cgroup",
            "options": ["ro", "nosuid", "noexec", "nodev"],
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
            "options": ["bind", "ro", "nosuid", "noexec", "nodev"],
        }));
    }
    mounts
}

fn linux(inputs: &Inputs<'_>) -> Value {
    let Inputs { record, cgroups_v1, .. } = inputs;
    let mut namespaces = vec!["pid", "mount", "uts", "ipc"];
    let mut sysctl = json!({});
    if record.network != Network::Host {
        namespaces.push("network");
        // Inside its own network a container may use low ports and ping as any user.
        sysctl = json!({
            "net.ipv4.ip_unprivileged_port_start": "0",
            "net.ipv4.ping_group_range": "0 2147483647",
        });
    }
    // Docker's choice: with v1 the host's view, read-only; with v2 its own.
    if cgroups_v1.is_empty() {
        namespaces.push("cgroup");
    }
    let namespaces: Vec<Value> = namespaces.iter().map(|name| json!({"type": name})).collect();
    json!({
        "namespaces": namespaces,
        "cgroupsPath": record.cgroup(),
        "resources": resources(inputs),
        "sysctl": sysctl,
        "seccomp": seccomp::profile(),
        "maskedPaths": MASKED_PATHS,
        "readonlyPaths": READONLY_PATHS,
    })
}

/// What is not limited is left out: libcontainer writes what it finds.
fn resources(inputs: &Inputs<'_>) -> Value {
    let limits = &inputs.record.resources;
    let mut resources = json!({"devices": devices()});
    let mut put = |name: &str, values: Value| {
        let values: serde_json::Map<String, Value> = values
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if !values.is_empty() {
            resources[name] = Value::Object(values);
        }
    };
    // Where the kernel does not count swap, there is nothing to be limited.
    let swap = limits.memory_and_swap().filter(|_| inputs.counts_swap);
    put(
        "memory",
        json!({"limit": limits.memory, "reservation": limits.memory_reservation, "swap": swap}),
    );
    let quota = limits.cpu_quota();
    put(
        "cpu",
        json!({
            "shares": limits.cpu_shares,
            "quota": quota.map(|(quota, _)| quota),
            "period": quota.map(|(_, period)| period),
            "cpus": limits.cpuset_cpus,
            "mems": limits.cpuset_mems,
        }),
    );
    put("pids", json!({"limit": limits.pids_limit.filter(|limit| *limit > 0)}));
    resources
}

/// Every device may be made, few may be used; libcontainer adds the usual ones.
fn devices() -> Value {
    json!([
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "access": "m"},
        {"allow": true, "type": "b", "access": "m"},
    ])
}

#[cfg(test)]
mod tests;
