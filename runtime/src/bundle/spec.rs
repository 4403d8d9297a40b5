//! The OCI's config.json of a container. Pure: values in, JSON out.
//!
//! Written as the JSON that it is: the builders of `oci-spec` fill what is left out with values that
//! are not Docker's. A test reads it back with `oci-spec`.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::devices::Node;
use super::mounts;
use super::powers::Powers;
use super::storage::Ready;
use super::user::Identity;
use crate::container::isolation::Uts;
use crate::container::{Network, Record};
use crate::mount::{Mount, Source};

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
    /// What its processes may do.
    pub powers: &'a Powers,
    /// Its devices besides the usual ones.
    pub nodes: &'a [Node],
    /// What it does not have for itself.
    pub shared: &'a Shared,
    /// Does the kernel count swap?
    pub counts_swap: bool,
    /// What it sees of the host's files.
    pub storage: &'a [Ready],
    /// Its cgroups, on cgroup v1.
    pub cgroups_v1: &'a [PathBuf],
}

/// Where a namespace comes from.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Space {
    /// A new one.
    #[default]
    Own,
    /// The host's.
    Host,
    /// A file of the kernel's that stands for one.
    Of(PathBuf),
}

/// What a container shares, found by now.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    /// Processes.
    pub pid: Space,
    /// Shared memory and queues.
    pub ipc: Space,
    /// The network, that of the host aside.
    pub network: Space,
    /// Where the `/dev/shm` of another container is mounted for this one.
    pub shm: Option<PathBuf>,
}

/// The whole config.json.
#[must_use]
pub fn render(inputs: &Inputs<'_>) -> Value {
    let Inputs { record, rootfs, .. } = inputs;
    let mut config = json!({
        "ociVersion": "1.0.2",
        "root": {"path": rootfs, "readonly": record.isolation.read_only},
        "process": process(inputs),
        "mounts": mounts::render(inputs),
        "linux": linux(inputs),
    });
    if record.isolation.uts == Uts::Own {
        config["hostname"] = record.hostname.as_str().into();
        if !record.isolation.domainname.is_empty() {
            config["domainname"] = record.isolation.domainname.as_str().into();
        }
    }
    config
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

fn process(inputs: &Inputs<'_>) -> Value {
    let Inputs { record, identity, powers, .. } = inputs;
    let limit = |limit: &super::powers::Limit| json!({"type": format!("{:?}", limit.resource), "soft": limit.soft, "hard": limit.hard});
    let mut process = json!({
        "terminal": record.tty,
        "user": {"uid": identity.uid, "gid": identity.gid, "additionalGids": identity.groups},
        "args": record.command,
        "env": environment(record, identity),
        "cwd": record.workdir,
        // Neither inheritable nor ambient: a user who is not root gets none of them.
        "capabilities": {
            "bounding": powers.capabilities,
            "effective": powers.capabilities,
            "permitted": powers.capabilities,
        },
        "rlimits": powers.limits.iter().map(limit).collect::<Vec<_>>(),
    });
    // Not even a false one: libcontainer would load seccomp too late.
    if powers.no_new_privileges {
        process["noNewPrivileges"] = true.into();
    }
    process
}

fn linux(inputs: &Inputs<'_>) -> Value {
    let Inputs { record, cgroups_v1, powers, shared, .. } = inputs;
    let mut namespaces = vec![json!({"type": "mount"})];
    for (kind, space) in [("pid", &shared.pid), ("ipc", &shared.ipc)] {
        match space {
            Space::Own => namespaces.push(json!({"type": kind})),
            Space::Of(path) => namespaces.push(json!({"type": kind, "path": path})),
            Space::Host => {}
        }
    }
    if record.isolation.uts == Uts::Own {
        namespaces.push(json!({"type": "uts"}));
    }
    let mut sysctl = json!({});
    if let Space::Of(path) = &shared.network {
        namespaces.push(json!({"type": "network", "path": path}));
    } else if record.network != Network::Host {
        namespaces.push(json!({"type": "network"}));
        // Inside its own network a container may use low ports and ping as any user.
        sysctl = json!({
            "net.ipv4.ip_unprivileged_port_start": "0",
            "net.ipv4.ping_group_range": "0 2147483647",
        });
    }
    for (name, value) in &record.isolation.sysctls {
        sysctl[name] = value.as_str().into();
    }
    // Docker's choice: with v1 the host's view, read-only; with v2 its own.
    if cgroups_v1.is_empty() {
        namespaces.push(json!({"type": "cgroup"}));
    }
    let mut linux = json!({
        "namespaces": namespaces,
        "cgroupsPath": record.cgroup(),
        "resources": resources(inputs),
        "sysctl": sysctl,
        // Else mounts that the host makes later would appear in the container.
        "rootfsPropagation": if record.mounts.iter().any(follows_the_host) { "slave" } else { "private" },
        "devices": inputs.nodes.iter().map(Node::render).collect::<Vec<_>>(),
        "maskedPaths": record.security.masked_paths(),
        "readonlyPaths": record.security.readonly_paths(),
    });
    if let Some(filter) = &powers.filter {
        linux["seccomp"] = filter.clone();
    }
    linux
}

fn follows_the_host(mount: &Mount) -> bool {
    matches!(&mount.source, Source::Bind(bind) if bind.propagation.ends_with("slave"))
}

/// What is not limited is left out: libcontainer writes what it finds.
fn resources(inputs: &Inputs<'_>) -> Value {
    let limits = &inputs.record.resources;
    let mut resources = json!({"devices": devices(inputs)});
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
fn devices(inputs: &Inputs<'_>) -> Value {
    if inputs.record.security.privileged {
        return json!([{"allow": true, "access": "rwm"}]);
    }
    let mut rules = vec![
        json!({"allow": false, "access": "rwm"}),
        json!({"allow": true, "type": "c", "access": "m"}),
        json!({"allow": true, "type": "b", "access": "m"}),
    ];
    rules.extend(inputs.nodes.iter().map(Node::rule));
    rules.into()
}

#[cfg(test)]
mod tests;
