//! How a container was asked to be run: `HostConfig`.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::listed;
use crate::cgroup::Hierarchies;
use crate::container::Record;
use crate::container::isolation::{Device, Ulimit};
use crate::container::links::Link;
use crate::container::ports::Binding;
use crate::container::wiring::ExtraHost;
use crate::mount::{Mount, Written};

pub(super) fn host_config(record: &Record, hierarchies: &Hierarchies) -> Value {
    let limits = &record.resources;
    let (security, isolation) = (&record.security, &record.isolation);
    let mut config = json!({
        "Binds": listed(&record.mounts.iter().filter_map(Mount::bind_text).collect::<Vec<_>>()),
        "LogConfig": {"Type": "json-file", "Config": record.log_options},
        "NetworkMode": record.network_mode(),
        "Links": listed(&links(record)),
        "Dns": record.wiring.dns,
        "DnsOptions": record.wiring.dns_options,
        "DnsSearch": record.wiring.dns_search,
        "ExtraHosts": listed(&record.wiring.hosts.iter().map(ExtraHost::text).collect::<Vec<_>>()),
        "PortBindings": bindings(record),
        "PublishAllPorts": record.ports.publish_all,
        "RestartPolicy": {
            "Name": record.restart.name(),
            "MaximumRetryCount": record.restart.maximum(),
        },
        "AutoRemove": record.auto_remove,
        "ContainerIDFile": record.cid_file.as_deref().unwrap_or(Path::new("")),
        "CapAdd": listed(&security.cap_add),
        "CapDrop": listed(&security.cap_drop),
        "CgroupnsMode": if hierarchies.is_unified() { "private" } else { "host" },
        "GroupAdd": listed(&isolation.groups),
        "IpcMode": isolation.ipc.to_string(),
        "PidMode": isolation.pid.to_string(),
        "UTSMode": isolation.uts.to_string(),
        "Privileged": security.privileged,
        "ReadonlyRootfs": isolation.read_only,
        "SecurityOpt": listed(&security.options),
        "ShmSize": isolation.shm(),
        "Devices": isolation.devices.iter().map(device).collect::<Vec<_>>(),
        "Ulimits": isolation.ulimits.iter().map(ulimit).collect::<Vec<_>>(),
        "CgroupParent": record.cgroup_parent,
        "CpuShares": limits.cpu_shares.unwrap_or(0),
        "Memory": limits.memory.unwrap_or(0),
        "MemoryReservation": limits.memory_reservation.unwrap_or(0),
        "MemorySwap": limits.memory_and_swap().unwrap_or(0),
        "NanoCpus": limits.nano_cpus.unwrap_or(0),
        "CpusetCpus": limits.cpuset_cpus.as_deref().unwrap_or_default(),
        "CpusetMems": limits.cpuset_mems.as_deref().unwrap_or_default(),
        "PidsLimit": limits.pids_limit,
        "MaskedPaths": security.masked_paths(),
        "ReadonlyPaths": security.readonly_paths(),
    });
    put_unlimited(&mut config);
    put_asked_for(&mut config, record);
    config
}

/// What nothing here limits, and what is the same for all.
fn put_unlimited(config: &mut Value) {
    for name in ["BlkioWeight", "CpuPeriod", "CpuQuota", "CpuRealtimePeriod", "CpuRealtimeRuntime"]
    {
        config[name] = json!(0);
    }
    for name in ["CpuCount", "CpuPercent", "IOMaximumIOps", "IOMaximumBandwidth"] {
        config[name] = json!(0);
    }
    for name in ["BlkioDeviceReadBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteBps"] {
        config[name] = Value::Null;
    }
    for name in ["BlkioDeviceWriteIOps", "DeviceCgroupRules", "DeviceRequests", "MemorySwappiness"]
    {
        config[name] = Value::Null;
    }
    for name in ["Cgroup", "Isolation", "UsernsMode", "VolumeDriver"] {
        config[name] = json!("");
    }
    config["VolumesFrom"] = Value::Null;
    config["Runtime"] = json!("twill");
    config["OomScoreAdj"] = json!(0);
    config["ConsoleSize"] = json!([0, 0]);
    config["BlkioWeightDevice"] = json!([]);
    config["OomKillDisable"] = json!(false);
}

/// What Docker shows only where somebody asked for it.
fn put_asked_for(config: &mut Value, record: &Record) {
    if !record.isolation.sysctls.is_empty() {
        config["Sysctls"] = json!(record.isolation.sysctls);
    }
    if record.isolation.init {
        config["Init"] = json!(true);
    }
    for mount in &record.mounts {
        if let Written::Tmpfs(options) = &mount.written {
            config["Tmpfs"][mount.target.display().to_string()] = options.as_str().into();
        }
    }
}

fn device(device: &Device) -> Value {
    json!({
        "PathOnHost": device.host,
        "PathInContainer": device.container,
        "CgroupPermissions": device.access,
    })
}

fn ulimit(limit: &Ulimit) -> Value {
    json!({"Name": limit.name, "Hard": limit.hard, "Soft": limit.soft})
}

/// By ids: names are of today.
fn links(record: &Record) -> Vec<String> {
    let link = |link: &Link| format!("{}:/{}/{}", link.id, record.name, link.alias);
    record.wiring.links.iter().map(link).collect()
}

fn bindings(record: &Record) -> Value {
    let shown = |binding: &&Binding| {
        let ip = binding.host_ip.map(|ip| ip.to_string()).unwrap_or_default();
        json!({"HostIp": ip, "HostPort": binding.host_port()})
    };
    let rows = record.ports.by_port().into_iter();
    rows.map(|(port, all)| (port.to_string(), all.iter().map(shown).collect()))
        .collect::<Map<_, Value>>()
        .into()
}
