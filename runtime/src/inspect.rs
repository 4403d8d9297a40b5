//! All that is known about a container or an image, in Docker's field names. Pure.
//!
//! What Docker can limit and Twill cannot is shown as not limited, which is true.

mod host_config;
mod image;
mod network;

use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use self::host_config::host_config;
pub use self::image::image;
pub use self::network::{addresses, network};
use crate::Paths;
use crate::cgroup::Hierarchies;
use crate::container::{Container, Record, State, Status};
use crate::mount::Written;
use crate::volume::Volumes;

/// A container on a host whose kernel has these hierarchies of cgroups.
#[must_use]
pub fn container(paths: &Paths, container: &Container, hierarchies: &Hierarchies) -> Value {
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
        "HostConfig": host_config(record, hierarchies),
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

/// Docker's null for a list in which nothing was put.
fn listed(all: &[String]) -> Value {
    if all.is_empty() { Value::Null } else { json!(all) }
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
        "StdinOnce": record.feeds_once(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::record::sample;
    use crate::container::{Address, ImageOf, Ip, Network};
    use crate::process::Process;

    fn record() -> Record {
        Record {
            image: ImageOf { layers: vec!["/low".into(), "/top".into()], ..sample().image },
            command: vec!["e".into(), "c".into()],
            entrypoint: 1,
            ..sample()
        }
    }

    fn unified() -> Hierarchies {
        Hierarchies::parse("30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
    }

    fn v1() -> Hierarchies {
        Hierarchies::parse("30 23 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n")
    }

    fn rests(record: Record, hierarchies: &Hierarchies) -> Value {
        let paths = Paths::new("/lib".into(), "/run".into());
        container(&paths, &Container { record, state: State::default() }, hierarchies)
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
        let got = container(&paths, &Container { record: record(), state }, &unified());
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
    fn who_has_the_hosts_view_of_the_cgroups_is_said() {
        for (hierarchies, want) in [(unified(), "private"), (v1(), "host")] {
            let got = rests(record(), &hierarchies);
            assert_eq!(got["HostConfig"]["CgroupnsMode"], want);
        }
    }

    #[test]
    fn a_container_that_rests_has_no_address() {
        let got = rests(record(), &unified());
        assert_eq!(got.pointer("/NetworkSettings/IPAddress"), Some(&json!("")));
        assert_eq!(got.pointer("/NetworkSettings/GlobalIPv6Address"), Some(&json!("")));
        assert_eq!(got.pointer("/State/Pid"), Some(&json!(0)));
        let none = Record { network: Network::None, ..record() };
        let got = rests(none, &unified());
        assert_eq!(got.pointer("/NetworkSettings/IPAddress"), Some(&json!("")));
        assert!(got.pointer("/NetworkSettings/Networks/none").is_some());
    }
}
