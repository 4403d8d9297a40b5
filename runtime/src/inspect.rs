//! All that is known about a container or an image, in Docker's field names. Pure.
//!
//! What Docker can limit and Twill cannot is shown as not limited, which is true.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use twill_core::ids::Family;

use crate::Paths;
use crate::container::isolation::{Device, Ulimit};
use crate::container::links::Link;
use crate::container::ports::Binding;
use crate::container::wiring::ExtraHost;
use crate::container::{Address, Container, Network, Record, State, Status};
use crate::image::{Image, Reference};
use crate::listing::ports::places;
use crate::mount::{Mount, Written};
use crate::volume::Volumes;

/// A container, as with cgroup v2; with v1 see [`shares_cgroups`].
#[must_use]
pub fn container(paths: &Paths, container: &Container) -> Value {
    let Container { record, state } = container;
    let directory = paths.container(&record.id);
    let data = |name: &str| Volumes::new(paths).data(name);
    let (program, arguments) =
        record.command.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    json!({
        "Id": record.id,
        "Created": time(Some(record.created)),
        "Path": program,
        "Args": arguments,
        "State": self::state(state),
        "Image": record.image.id,
        "ResolvConfPath": directory.join("resolv.conf"),
        "HostnamePath": directory.join("hostname"),
        "HostsPath": directory.join("hosts"),
        "LogPath": directory.join("log.json"),
        "Name": format!("/{}", record.name),
        "RestartCount": state.restarts,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "HostConfig": host_config(record),
        "GraphDriver": {
            "Name": "overlay2",
            "Data": {
                "LowerDir": layers(&record.image.layers),
                "UpperDir": directory.join("upper"),
                "WorkDir": directory.join("work"),
            },
        },
        "Mounts": record.mounts.iter().filter_map(|mount| mount.shown(data)).collect::<Vec<_>>(),
        "Config": config(record),
        "NetworkSettings": network(record, state),
    })
}

/// Says of a container that it has the host's view of the cgroups.
pub fn shares_cgroups(shown: &mut Value) {
    shown["HostConfig"]["CgroupnsMode"] = json!("host");
}

fn layers(layers: &[PathBuf]) -> String {
    let top_first: Vec<String> =
        layers.iter().rev().map(|layer| layer.display().to_string()).collect();
    top_first.join(":")
}

fn state(state: &State) -> Value {
    let mut shown = json!({
        "Status": state.word(),
        "Running": state.status.is_alive(),
        "Paused": state.paused,
        "Restarting": state.status == Status::Restarting,
        "OOMKilled": state.out_of_memory,
        "Dead": false,
        "Pid": state.process.map_or(0, |process| process.pid),
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": time(state.started),
        "FinishedAt": time(state.finished),
    });
    if let Some(health) = &state.health {
        shown["Health"] = health.shown();
    }
    shown
}

/// Docker's zero time stands for never.
fn time(when: Option<Timestamp>) -> String {
    when.map_or_else(|| "0001-01-01T00:00:00Z".into(), |when| format!("{when:.9}"))
}

fn host_config(record: &Record) -> Value {
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
        "CgroupnsMode": "private",
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

/// Docker's null for a list in which nothing was put.
fn listed(all: &[String]) -> Value {
    if all.is_empty() { Value::Null } else { json!(all) }
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

fn config(record: &Record) -> Value {
    let (entrypoint, arguments) =
        record.command.split_at(record.entrypoint.min(record.command.len()));
    let mut config = json!({
        "Hostname": record.hostname,
        "Domainname": record.isolation.domainname,
        "User": record.user,
        "AttachStdin": record.attached.input,
        "AttachStdout": record.attached.output,
        "AttachStderr": record.attached.error,
        "Tty": record.tty,
        "OpenStdin": record.open_stdin,
        "StdinOnce": record.open_stdin,
        "Env": listed(&record.env),
        "Cmd": listed(arguments),
        "Image": record.image.name,
        "WorkingDir": record.workdir,
        "Entrypoint": if entrypoint.is_empty() { Value::Null } else { json!(entrypoint) },
        "OnBuild": null,
        "Labels": record.labels,
        "StopSignal": crate::signals::Signal::from_number(record.stop_signal).map(crate::signals::Signal::name),
    });
    if let Some(check) = &record.health {
        config["Healthcheck"] = check.configured();
    }
    if let Some(seconds) = record.stop_timeout {
        config["StopTimeout"] = seconds.into();
    }
    let declared = record.mounts.iter().filter(|mount| mount.written == Written::Declared);
    let declared: Map<_, _> =
        declared.map(|mount| (mount.target.display().to_string(), json!({}))).collect();
    config["Volumes"] = if declared.is_empty() { Value::Null } else { declared.into() };
    if !record.ports.exposed.is_empty() {
        let ports = record.ports.exposed.iter().map(|port| (port.to_string(), json!({})));
        config["ExposedPorts"] = ports.collect::<Map<_, _>>().into();
    }
    config
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

/// Where each port is reached now; `null` for one that is not published.
fn ports(record: &Record, state: &State) -> Value {
    if state.status != Status::Running {
        return json!({});
    }
    let mut rows: Map<String, Value> =
        record.ports.exposed.iter().map(|port| (port.to_string(), Value::Null)).collect();
    for port in &state.ports {
        let row =
            rows.entry(format!("{}/{}", port.container_port, port.protocol)).or_insert(Value::Null);
        let places = places(port, state)
            .map(|at| json!({"HostIp": at.ip().to_string(), "HostPort": at.port().to_string()}));
        let mut all = row.as_array().cloned().unwrap_or_default();
        all.extend(places);
        *row = all.into();
    }
    rows.into()
}

fn network(record: &Record, state: &State) -> Value {
    let process = state.process.map(|process| process.pid);
    let sandbox = process.map_or_else(String::new, |pid| format!("/proc/{pid}/ns/net"));
    let address = state.address.as_ref();
    let mut endpoint = addresses(address);
    let mac = address.map_or("", |address| address.mac.as_str());
    endpoint.insert("MacAddress".into(), json!(mac));
    let mut settings = Map::new();
    let bridge = address.map_or("", |address| address.bridge.as_str());
    settings.insert("Bridge".into(), json!(bridge));
    // One container has one place on the network: its id is that of both.
    let own = process.map_or("", |_| record.id.as_str());
    settings.insert("SandboxID".into(), json!(own));
    settings.insert("HairpinMode".into(), json!(false));
    settings.insert("LinkLocalIPv6Address".into(), json!(""));
    settings.insert("LinkLocalIPv6PrefixLen".into(), json!(0));
    settings.insert("Ports".into(), ports(record, state));
    settings.insert("SandboxKey".into(), json!(sandbox));
    settings.insert("SecondaryIPAddresses".into(), Value::Null);
    settings.insert("SecondaryIPv6Addresses".into(), Value::Null);
    endpoint.insert("EndpointID".into(), json!(own));
    settings.extend(endpoint.clone());
    if record.network == Network::Container {
        settings.insert("Networks".into(), json!({}));
        return Value::Object(settings);
    }
    endpoint.insert("IPAMConfig".into(), Value::Null);
    endpoint.insert("Links".into(), Value::Null);
    endpoint.insert("Aliases".into(), listed(&record.wiring.aliases));
    endpoint
        .insert("NetworkID".into(), json!(crate::commands::network_list::id_of(record.network)));
    endpoint.insert("DriverOpts".into(), Value::Null);
    settings.insert("Networks".into(), json!({record.network.as_str(): endpoint}));
    Value::Object(settings)
}

/// Where it is, in each family; what it has not is empty and 0, as with Docker.
#[must_use]
pub fn addresses(address: Option<&Address>) -> Map<String, Value> {
    let mut found = Map::new();
    for (family, [own, length, gateway]) in [
        (Family::V4, ["IPAddress", "IPPrefixLen", "Gateway"]),
        (Family::V6, ["GlobalIPv6Address", "GlobalIPv6PrefixLen", "IPv6Gateway"]),
    ] {
        let ip = address.and_then(|address| address.of(family));
        found.insert(own.into(), ip.map_or(json!(""), |it| json!(it.ip)));
        found.insert(length.into(), json!(ip.map_or(0, |it| it.prefix_length)));
        found.insert(gateway.into(), ip.map_or(json!(""), |it| json!(it.gateway)));
    }
    found
}

/// An image, with its configuration as it came: `oci-spec` leaves out what is Docker's alone.
#[must_use]
pub fn image(image: &Image, whole: &Value) -> Value {
    let config = &image.config;
    json!({
        "Id": image.id.to_string(),
        "RepoTags": image.names.iter().map(Reference::to_string).collect::<Vec<_>>(),
        "RepoDigests": [],
        "Parent": "",
        "Comment": comment(image),
        "Created": time(image.created),
        "DockerVersion": "",
        "Author": config.author().clone().unwrap_or_default(),
        "Config": of_image(whole),
        "Architecture": config.architecture().to_string(),
        "Os": config.os().to_string(),
        "Size": image.size,
        "VirtualSize": image.size,
        "GraphDriver": {"Name": "overlay2", "Data": {"LowerDir": layers(&image.layers)}},
        "RootFS": {"Type": "layers", "Layers": config.rootfs().diff_ids()},
    })
}

/// What was said when it was made.
fn comment(image: &Image) -> String {
    let last = image.config.history().iter().flatten().next_back();
    last.and_then(|step| step.comment().clone()).unwrap_or_default()
}

/// What containers of it begin with; `null` where it says nothing.
fn of_image(whole: &Value) -> Value {
    let said = |name: &str| whole.get("config")?.get(name).filter(|value| !value.is_null());
    let text = |name: &str| said(name).cloned().unwrap_or_else(|| json!(""));
    let other = |name: &str| {
        let mut value = said(name).cloned().unwrap_or(Value::Null);
        value.sort_all_objects();
        value
    };
    let mut config = json!({"Hostname": "", "Domainname": "", "User": text("User")});
    for name in ["AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce"] {
        config[name] = json!(false);
    }
    for name in ["Env", "Cmd"] {
        config[name] = other(name);
    }
    config["Image"] = json!("");
    config["Volumes"] = other("Volumes");
    config["WorkingDir"] = text("WorkingDir");
    for name in ["Entrypoint", "OnBuild", "Labels"] {
        config[name] = other(name);
    }
    if said("ExposedPorts").is_some() {
        config["ExposedPorts"] = other("ExposedPorts");
    }
    for name in ["Healthcheck", "ArgsEscaped", "StopSignal", "Shell"] {
        if let Some(value) = said(name) {
            config[name] = value.clone();
        }
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::record::sample;
    use crate::container::{ImageOf, Ip};
    use crate::process::Process;

    fn record() -> Record {
        Record {
            image: ImageOf { layers: vec!["/low".into(), "/top".into()], ..sample().image },
            command: vec!["e".into(), "c".into()],
            entrypoint: 1,
            ..sample()
        }
    }

    #[test]
    fn the_fields_that_scripts_ask_for() {
        let address = Address {
            first: Ip {
                ip: [10, 5, 2, 7].into(),
                prefix_length: 24,
                gateway: [10, 5, 2, 1].into(),
            },
            ipv6: Some(Ip {
                ip: "fd00:5::7".parse().unwrap(),
                prefix_length: 64,
                gateway: "fd00:5::1".parse().unwrap(),
            }),
            mac: "02:00:00:00:00:07".into(),
            mtu: 1450,
            bridge: "twill0".into(),
            host_interface: "tw0".into(),
        };
        let state = State {
            status: Status::Running,
            process: Some(Process { pid: 42, started: 1 }),
            started: Some(Timestamp::UNIX_EPOCH),
            address: Some(address),
            ..State::default()
        };
        let paths = Paths::new("/lib".into(), "/run".into());
        let got = container(&paths, &Container { record: record(), state });
        for (pointer, want) in [
            ("/Name", json!("/web")),
            ("/Path", json!("e")),
            ("/Args", json!(["c"])),
            ("/State/Status", json!("running")),
            ("/State/Pid", json!(42)),
            ("/State/StartedAt", json!("1970-01-01T00:00:00.000000000Z")),
            ("/State/FinishedAt", json!("0001-01-01T00:00:00Z")),
            ("/Config/Entrypoint", json!(["e"])),
            ("/Config/Cmd", json!(["c"])),
            ("/Config/StopSignal", json!("SIGTERM")),
            ("/GraphDriver/Data/LowerDir", json!("/top:/low")),
            ("/NetworkSettings/IPAddress", json!("10.5.2.7")),
            ("/NetworkSettings/Networks/bridge/Gateway", json!("10.5.2.1")),
            ("/NetworkSettings/Networks/bridge/IPPrefixLen", json!(24)),
            ("/NetworkSettings/GlobalIPv6Address", json!("fd00:5::7")),
            ("/NetworkSettings/Networks/bridge/GlobalIPv6PrefixLen", json!(64)),
            ("/NetworkSettings/Networks/bridge/IPv6Gateway", json!("fd00:5::1")),
            ("/NetworkSettings/SandboxKey", json!("/proc/42/ns/net")),
        ] {
            assert_eq!(got.pointer(pointer), Some(&want), "{pointer}");
        }
    }

    #[test]
    fn an_image_says_what_its_configuration_says() {
        let check = json!({"Test": ["CMD", "true"], "Interval": 5});
        let got = of_image(&json!({"config": {
            "User": null,
            "Healthcheck": check,
            "Labels": {"b": "1", "a": "2"},
            "OnBuild": ["RUN true"],
            "Shell": ["/bin/sh", "-c"],
        }}));
        assert_eq!(got["User"], "");
        assert_eq!(got["Healthcheck"].to_string(), check.to_string());
        assert_eq!(got["Labels"].to_string(), r#"{"a":"2","b":"1"}"#);
        assert_eq!(got["OnBuild"], json!(["RUN true"]));
        assert_eq!(got["Shell"], json!(["/bin/sh", "-c"]));
        let silent = of_image(&json!({}));
        for (name, want) in [("OnBuild", Some(&Value::Null)), ("Healthcheck", None)] {
            assert_eq!(silent.get(name), want, "{name}");
        }
    }

    #[test]
    fn who_has_the_hosts_view_of_the_cgroups_is_said() {
        let paths = Paths::new("/lib".into(), "/run".into());
        let mut got = container(&paths, &Container { record: record(), state: State::default() });
        assert_eq!(got["HostConfig"]["CgroupnsMode"], "private");
        shares_cgroups(&mut got);
        assert_eq!(got["HostConfig"]["CgroupnsMode"], "host");
    }

    #[test]
    fn a_container_that_rests_has_no_address() {
        let paths = Paths::new("/lib".into(), "/run".into());
        let got = container(&paths, &Container { record: record(), state: State::default() });
        assert_eq!(got.pointer("/NetworkSettings/IPAddress"), Some(&json!("")));
        assert_eq!(got.pointer("/NetworkSettings/GlobalIPv6Address"), Some(&json!("")));
        assert_eq!(got.pointer("/State/Pid"), Some(&json!(0)));
        let none = Record { network: Network::None, ..record() };
        let got = container(&paths, &Container { record: none, state: State::default() });
        assert_eq!(got.pointer("/NetworkSettings/IPAddress"), Some(&json!("")));
        assert!(got.pointer("/NetworkSettings/Networks/none").is_some());
    }
}
