//! What the specification wants of any plugin that joins pods to a bridge, as a table: environment and
//! configuration in, exit code and answer out.
//!
//! It runs on ours, and on Debian's `bridge` with `host-local` to prove the table, where that is: unpacked by
//! `scripts/deps.sh test`, or in the directory that `TWILL_CNI_PLUGINS` names. `TWILL_CNI_PLUGIN=PATH` with
//! `TWILL_CNI_CONFIG=JSON` (without `cniVersion`) runs it on any other.

use std::env;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use twill_net::blocking::Kernel;
use twill_net::netns::Netns;

use crate::call::{Answer, OURS, World, call_of, with};

/// A plugin, and a network for it.
struct Subject {
    path: PathBuf,
    /// Without a version.
    network: Value,
    /// Those that it says it speaks.
    versions: Vec<String>,
}

/// What is wanted of a call that has to fail.
#[derive(Clone, Copy, Debug)]
enum Failing {
    /// With this number.
    Code(u64),
    /// With any: the specification has none for it.
    Any,
}
use Failing::{Any, Code};

/// Of the environment.
type Variables<'a> = &'a [(&'a str, &'a str)];

#[test]
fn ours() {
    let Some(world) = World::new() else { return };
    let mut network = world.network("");
    network.as_object_mut().unwrap().remove("cniVersion");
    run(&world, &Subject::new(OURS.into(), network));
}

#[test]
fn debians() {
    let Some(world) = World::new() else { return };
    let Some(directory) = plugins() else { return };
    let data = world.directory.path().join("host-local");
    let network = json!({
        "name": "pods", "type": "bridge", "bridge": "cni0", "isGateway": true,
        "ipam": {
            "type": "host-local", "dataDir": data, "ranges": [[{ "subnet": "10.89.2.0/24" }]],
            "routes": [{ "dst": "0.0.0.0/0" }],
        },
    });
    run(&world, &Subject::new(directory.join("bridge"), network));
}

#[test]
fn another() {
    let Some(path) = env::var_os("TWILL_CNI_PLUGIN") else { return };
    let Some(world) = World::new() else { return };
    let network = env::var("TWILL_CNI_CONFIG").expect("TWILL_CNI_CONFIG is set, too");
    run(&world, &Subject::new(path.into(), serde_json::from_str(&network).unwrap()));
}

/// Debian's; `None`, said aloud, where they are not.
pub(crate) fn plugins() -> Option<PathBuf> {
    let unpacked = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/cni/usr/lib/cni");
    let directory = env::var_os("TWILL_CNI_PLUGINS").map_or_else(unpacked, PathBuf::from);
    let installed = PathBuf::from("/usr/lib/cni");
    let found = [directory, installed].into_iter().find(|it| it.join("bridge").exists());
    if found.is_none() {
        let required = env::var_os("REQUIRE_CNI_PLUGINS").is_some_and(|value| value == "1");
        assert!(!required, "REQUIRE_CNI_PLUGINS=1, but Debian's plugins are not there");
        eprintln!("SKIPPED: no CNI plugins of Debian to compare with: scripts/deps.sh test");
    }
    found
}

impl Subject {
    fn new(path: PathBuf, network: Value) -> Self {
        let mut subject = Self { path, network, versions: Vec::new() };
        let dummies = [("CNI_NETNS", "dummy"), ("CNI_IFNAME", "dummy"), ("CNI_PATH", "dummy")];
        let environment =
            [&[("CNI_COMMAND", "VERSION"), ("CNI_CONTAINERID", "")], &dummies[..]].concat();
        let asked = "{\"cniVersion\":\"1.0.0\"}";
        let told = call_of(&subject.path, &environment, asked).result();
        assert!(told["cniVersion"].is_string(), "{told}");
        let versions = told["supportedVersions"].as_array().expect("a list").iter();
        subject.versions = versions.map(|it| it.as_str().unwrap().to_owned()).collect();
        subject
    }

    fn speaks(&self, version: &str) -> bool {
        self.versions.iter().any(|it| it == version)
    }

    fn network(&self, version: &str) -> Value {
        let mut network = self.network.clone();
        network["cniVersion"] = json!(version);
        network
    }

    fn call(&self, variables: &[(&str, &str)], stdin: &str) -> Answer {
        let directory = self.path.parent().unwrap().to_str().unwrap();
        call_of(&self.path, &[variables, &[("CNI_PATH", directory)]].concat(), stdin)
    }

    fn about(&self, verb: &str, (container, pod): (&str, &Netns), network: &Value) -> Answer {
        let netns = pod.path().to_str().unwrap();
        self.call(&with(verb, container, &[("CNI_NETNS", netns)]), &network.to_string())
    }

    #[track_caller]
    fn fails(&self, name: &str, call: (&[(&str, &str)], &str), want: Failing) {
        fails(name, &self.call(call.0, call.1), want);
    }
}

#[track_caller]
fn fails(name: &str, answer: &Answer, want: Failing) {
    assert_ne!(answer.exit_code, 0, "{name}: {answer:?}");
    let told: Value = serde_json::from_str(&answer.stdout)
        .unwrap_or_else(|error| panic!("{name}: {error}: {answer:?}"));
    let code = told["code"].as_u64().unwrap_or_else(|| panic!("{name}: no code: {told}"));
    assert!(told["msg"].as_str().is_some_and(|words| !words.is_empty()), "{name}: {told}");
    // The reference library leaves it out of errors.
    assert!(told.get("cniVersion").is_none_or(Value::is_string), "{name}: {told}");
    if let Code(wanted) = want {
        assert_eq!(code, wanted, "{name}: {told}");
    }
}

fn run(world: &World, subject: &Subject) {
    by_hand(subject);
    environments(subject);
    configurations(subject);
    for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"].iter().filter(|it| subject.speaks(it)) {
        life(world, subject, version);
        twice(world, subject, version);
    }
    keys_of_any_case(world, subject);
    since_1_1(world, subject);
}

fn by_hand(subject: &Subject) {
    let answer = call_of(&subject.path, &[], "");
    assert_eq!((answer.exit_code, answer.stdout.as_str()), (0, ""), "{answer:?}");
    assert!(answer.stderr.contains("1.0.0"), "{answer:?}");
}

fn environments(subject: &Subject) {
    let network = subject.network("1.0.0").to_string();
    let (id, name) = (("CNI_CONTAINERID", "a"), ("CNI_IFNAME", "eth0"));
    let netns = ("CNI_NETNS", "/nowhere");
    let rows: [(&str, Variables<'_>, Failing); 12] = [
        ("an unknown verb", &[("CNI_COMMAND", "PATCH"), id, name, netns], Code(4)),
        ("a verb in small letters", &[("CNI_COMMAND", "add"), id, name, netns], Code(4)),
        ("ADD to no container", &[("CNI_COMMAND", "ADD"), name, netns], Code(4)),
        ("ADD to no namespace", &[("CNI_COMMAND", "ADD"), id, name], Code(4)),
        ("ADD of no interface", &[("CNI_COMMAND", "ADD"), id, netns], Code(4)),
        ("CHECK of no namespace", &[("CNI_COMMAND", "CHECK"), id, name], Code(4)),
        ("DEL from no container", &[("CNI_COMMAND", "DEL"), name], Code(4)),
        ("DEL of no interface", &[("CNI_COMMAND", "DEL"), id], Code(4)),
        (
            "an id out of line",
            &[("CNI_COMMAND", "DEL"), ("CNI_CONTAINERID", "../a"), name],
            Code(4),
        ),
        ("a long name", &[("CNI_COMMAND", "DEL"), id, ("CNI_IFNAME", "sixteen-letters-")], Code(4)),
        ("a name with a slash", &[("CNI_COMMAND", "DEL"), id, ("CNI_IFNAME", "a/b")], Code(4)),
        ("ADD to a namespace that is not there", &[("CNI_COMMAND", "ADD"), id, name, netns], Any),
    ];
    for (case, variables, want) in rows {
        subject.fails(case, (variables, &network), want);
    }
}

fn configurations(subject: &Subject) {
    let network = |change: fn(&mut Value)| {
        let mut network = subject.network("1.0.0");
        change(&mut network);
        network.to_string()
    };
    let rows = [
        ("nothing", String::new(), Code(6)),
        ("half an object", "{\"cniVersion\":\"1.0.0\",".to_owned(), Code(6)),
        ("a release of the future", network(|it| it["cniVersion"] = json!("9.9.9")), Code(1)),
        ("no name", network(|it| drop(it.as_object_mut().unwrap().remove("name"))), Code(7)),
        ("a name out of line", network(|it| it["name"] = json!("a b")), Code(7)),
    ];
    for (case, text, want) in rows {
        for verb in ["ADD", "DEL"] {
            let variables = with(verb, "a", &[("CNI_NETNS", "/nowhere")]);
            subject.fails(&format!("{verb} with {case}"), (&variables, &text), want);
        }
    }
}

/// One pod from its beginning to its end.
fn life(world: &World, subject: &Subject, version: &str) {
    let (pod, container) = (world.pod(), format!("life-{version}"));
    let about = |verb, network: &Value| subject.about(verb, (&container, &pod), network);
    let mut network = subject.network(version);
    let result = about("ADD", &network).result();
    told((&result, version), &pod);
    network["prevResult"] = result;
    let check = about("CHECK", &network);
    if version == "0.3.1" {
        fails("CHECK before there was one", &check, Code(1));
    } else {
        check.is_silent_success();
        let mut inside = Kernel::of(&pod).unwrap();
        let link = inside.link("eth0").unwrap().unwrap().index;
        let own = network["prevResult"]["ips"][0]["address"].as_str().unwrap().to_owned();
        let own = own.split('/').next().unwrap();
        let rows = inside.addresses().unwrap();
        let row = rows.iter().find(|row| row.link == link && row.address.to_string() == own);
        inside.drop_address(*row.unwrap()).unwrap();
        fails("CHECK of a pod whose address is gone", &about("CHECK", &network), Any);
        inside.drop_link(link).unwrap();
        fails("CHECK of a pod whose interface is gone", &about("CHECK", &network), Any);
    }
    about("DEL", &network).is_silent_success();
    assert!(Kernel::of(&pod).unwrap().link("eth0").unwrap().is_none(), "DEL removes it");
    about("DEL", &network).is_silent_success();
    // A new life, and an end without anything that DEL could go by but the id.
    about("ADD", &subject.network(version)).result();
    drop(pod);
    let text = subject.network(version).to_string();
    let gone = with("DEL", &container, &[("CNI_NETNS", "/run/netns/gone")]);
    subject.call(&gone, &text).is_silent_success();
    subject.call(&with("DEL", &container, &[]), &text).is_silent_success();
    subject.call(&with("DEL", "never-seen", &[]), &text).is_silent_success();
}

/// What a result says, and whether it is so.
fn told((result, version): (&Value, &str), pod: &Netns) {
    assert_eq!(result["cniVersion"], version, "{result}");
    let interfaces = result["interfaces"].as_array().unwrap();
    let inside: Vec<&Value> = interfaces
        .iter()
        .filter(|it| it["sandbox"].as_str().is_some_and(|place| !place.is_empty()))
        .collect();
    let [own] = inside[..] else { panic!("one interface is the pod's: {result}") };
    assert_eq!((&own["name"], own["sandbox"].as_str()), (&json!("eth0"), pod.path().to_str()));
    let link = Kernel::of(pod).unwrap().link("eth0").unwrap().unwrap();
    assert_eq!(own["mac"].as_str(), link.mac.map(|mac| mac.to_string()).as_deref());
    let newer = ["mtu", "socketPath", "pciID"].iter().any(|key| own.get(key).is_some());
    assert!(!newer || version == "1.1.0", "{result}");
    let rows = Kernel::of(pod).unwrap().addresses().unwrap();
    let ips = result["ips"].as_array().unwrap();
    assert!(!ips.is_empty(), "{result}");
    for ip in ips {
        let (address, length) = ip["address"].as_str().unwrap().split_once('/').unwrap();
        let (address, length): (IpAddr, u8) = (address.parse().unwrap(), length.parse().unwrap());
        let found = |row: &&twill_net::blocking::Address| {
            row.link == link.index && row.address == address && row.prefix_length == length
        };
        assert!(rows.iter().any(|row| found(&row)), "{ip}: {rows:?}");
        let index = usize::try_from(ip["interface"].as_u64().unwrap()).unwrap();
        assert_eq!(&interfaces[index], own, "{result}");
        assert!(ip["gateway"].as_str().is_some_and(|it| it.parse::<IpAddr>().is_ok()));
        let family = if address.is_ipv4() { "4" } else { "6" };
        let wanted = version.starts_with("0.").then_some(family);
        assert_eq!(ip.get("version").and_then(Value::as_str), wanted, "{result}");
    }
}

/// A name that is taken is an error, and whoever has it keeps it.
fn twice(world: &World, subject: &Subject, version: &str) {
    let (pod, container) = (world.pod(), format!("twice-{version}"));
    let network = subject.network(version);
    subject.about("ADD", (&container, &pod), &network).result();
    let before = Kernel::of(&pod).unwrap().link("eth0").unwrap().unwrap();
    let again = subject.about("ADD", (&format!("{container}-2"), &pod), &network);
    fails("ADD of an interface that is there", &again, Any);
    assert_eq!(Kernel::of(&pod).unwrap().link("eth0").unwrap(), Some(before));
    subject.about("DEL", (&container, &pod), &network).is_silent_success();
}

/// Runtimes in Go write keys as their fields are called.
fn keys_of_any_case(world: &World, subject: &Subject) {
    let pod = world.pod();
    let mut network = json!({});
    for (key, value) in subject.network("1.0.0").as_object().unwrap() {
        let (first, rest) = key.split_at(1);
        network[first.to_uppercase() + rest] = value.clone();
    }
    let result = subject.about("ADD", ("case", &pod), &network).result();
    told((&result, "1.0.0"), &pod);
    subject.about("DEL", ("case", &pod), &network).is_silent_success();
}

fn since_1_1(world: &World, subject: &Subject) {
    let pod = world.pod();
    for verb in ["STATUS", "GC"] {
        let answer = subject.about(verb, ("a", &pod), &subject.network("1.0.0"));
        // Before 1.1.0 the verb was not known at all.
        fails(verb, &answer, if subject.speaks("1.1.0") { Code(1) } else { Code(4) });
    }
    if !subject.speaks("1.1.0") {
        return;
    }
    let mut network = subject.network("1.1.0");
    subject.call(&[("CNI_COMMAND", "STATUS")], &network.to_string()).is_silent_success();
    subject.about("ADD", ("kept", &pod), &network).result();
    for key in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
        network[key] = json!([{ "containerID": "kept", "ifname": "eth0" }]);
    }
    subject.call(&[("CNI_COMMAND", "GC")], &network.to_string()).is_silent_success();
    assert!(Kernel::of(&pod).unwrap().link("eth0").unwrap().is_some(), "GC leaves what is listed");
    subject.about("DEL", ("kept", &pod), &network).is_silent_success();
    assert!(fs::exists(pod.path()).unwrap());
}
