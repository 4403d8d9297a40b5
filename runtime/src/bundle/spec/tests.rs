use nix::sys::resource::Resource;
use oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::*;
use crate::bundle::powers::Limit;
use crate::container::record::sample as record;
use crate::security::capabilities;

fn root() -> Identity {
    Identity { uid: 0, gid: 0, groups: vec![], home: "/root".into() }
}

fn spec(record: &Record, cgroups_v1: &[PathBuf]) -> Spec {
    let powers = Powers {
        capabilities: capabilities::DEFAULT.map(str::to_owned).to_vec(),
        limits: vec![Limit { resource: Resource::RLIMIT_NOFILE, soft: 1024, hard: 20_000 }],
        ..Powers::default()
    };
    let inputs = Inputs {
        record,
        identity: &root(),
        rootfs: Path::new("/r"),
        files: Path::new("/f"),
        powers: &powers,
        nodes: &[],
        shared: &Shared::default(),
        counts_swap: false,
        storage: &[],
        cgroups_v1,
    };
    serde_json::from_value(render(&inputs)).unwrap()
}

fn namespaces(spec: &Spec) -> Vec<LinuxNamespaceType> {
    let linux = spec.linux().as_ref().unwrap();
    linux
        .namespaces()
        .as_ref()
        .unwrap()
        .iter()
        .map(oci_spec::runtime::LinuxNamespace::typ)
        .collect()
}

#[test]
fn what_is_left_out_stays_out() {
    let spec = spec(&record(), &[]);
    let process = spec.process().as_ref().unwrap();
    assert_eq!(process.no_new_privileges(), None);
    let capabilities = process.capabilities().as_ref().unwrap();
    assert!(capabilities.inheritable().is_none() && capabilities.ambient().is_none());
    assert_eq!(capabilities.bounding().as_ref().unwrap().len(), 14);
    let limit = process.rlimits().as_ref().unwrap()[0];
    assert_eq!((limit.soft(), limit.hard()), (1024, 20_000));
}

#[test]
fn namespaces_follow_the_network_and_the_cgroups() {
    use LinuxNamespaceType::{Cgroup, Network as Net};
    let v1 = [PathBuf::from("/sys/fs/cgroup/memory/twill/x")];
    let has = |record: &Record, v1: &[PathBuf]| {
        let all = namespaces(&spec(record, v1));
        (all.contains(&Net), all.contains(&Cgroup))
    };
    assert_eq!(has(&record(), &[]), (true, true));
    assert_eq!(has(&record(), &v1), (true, false));
    assert_eq!(has(&Record { network: Network::None, ..record() }, &v1), (true, false));
    let host = Record { network: Network::Host, ..record() };
    assert_eq!(has(&host, &v1), (false, false));
    assert!(spec(&host, &v1).linux().as_ref().unwrap().sysctl().as_ref().unwrap().is_empty());
}

#[test]
fn cgroups_of_v1_are_shown_read_only_and_never_as_a_cgroup_mount() {
    let v1 = [PathBuf::from("/sys/fs/cgroup/cpu,cpuacct/twill/x")];
    let spec = spec(&record(), &v1);
    let mounts = spec.mounts().as_ref().unwrap();
    assert!(mounts.iter().all(|mount| mount.typ().as_deref() != Some("cgroup")));
    let bound = mounts
        .iter()
        .find(|mount| mount.destination() == Path::new("/sys/fs/cgroup/cpu,cpuacct"))
        .unwrap();
    assert!(bound.options().as_ref().unwrap().contains(&"ro".to_owned()));
}

#[test]
fn environments_have_one_value_for_a_name() {
    let path = "PATH=/bin";
    let check = |record: &Record, want: &[&str]| assert_eq!(environment(record, &root()), want);
    check(&record(), &[path, "HOSTNAME=host", "A=1", "HOME=/root"]);
    let tty = Record { tty: true, ..record() };
    check(&tty, &[path, "HOSTNAME=host", "TERM=xterm", "A=1", "HOME=/root"]);
    let wishes = ["A=1", "PATH=/bin", "HOME=/x", "A=2", "TERM=dumb", "EMPTY="];
    let wishes = Record { env: wishes.map(str::to_owned).to_vec(), ..record() };
    check(&wishes, &[path, "HOSTNAME=host", "A=2", "HOME=/x", "TERM=dumb", "EMPTY="]);
}
