//! Changes the text of a configuration, and leaves alone what nobody asked to change.
//!
//! Member names count in any case, as they do for flannel, and the last of several does.

use serde_json::{Map, Value};
use twill_core::config::{DraftRange, NetworkConfig, Range};
use twill_core::ids::{Family, Subnet};

use super::MEMBERS;
use crate::args::{Backend, OrDefault, Wish};
use crate::failure::{Failure, Kind};

type Members = Map<String, Value>;

/// The options of `Backend` that twilld looks at.
const OPTIONS: [&str; 12] = [
    "Type",
    "Port",
    "VNI",
    "MTU",
    "GBP",
    "Learning",
    "DirectRouting",
    "ListenPort",
    "ListenPortV6",
    SECRET,
    "PersistentKeepaliveInterval",
    "Mode",
];
/// That one is never shown.
const SECRET: &str = "PSK";

/// The new text. `whole` is the text of a whole configuration, in place of single members.
pub(super) fn edit(before: &[u8], wish: &Wish, whole: Option<&str>) -> Result<String, Failure> {
    let read = serde_json::from_slice::<Members>(before);
    let members = match (whole, read) {
        (Some(whole), read) => replaced(read.unwrap_or_default(), whole)?,
        (None, Ok(members)) => {
            let old = NetworkConfig::parse(before).ok();
            changed(members, wish, old.as_ref())?
        }
        (None, Err(error)) => {
            let message = format!("the network configuration is not a JSON object: {error}");
            let hint = "give a whole one with --file or --json";
            return Err(Failure::new(Kind::Failed, message).hint(hint));
        }
    };
    Ok(Value::Object(members).to_string())
}

/// The options that `text` takes out of `Backend`, as they were, in words.
pub(super) fn dropped(before: &[u8], text: &[u8]) -> Vec<String> {
    let [before, now] = [before, text].map(|text| {
        let members = serde_json::from_slice::<Members>(text).unwrap_or_default();
        last(&members, "Backend").and_then(Value::as_object).cloned().unwrap_or_default()
    });
    let gone = |option: &&str| last(&now, option).is_none();
    let told = |option| match last(&before, option)? {
        _secret if option == SECRET => Some(option.to_owned()),
        found => Some(format!("{option} {found}")),
    };
    OPTIONS.iter().copied().filter(gone).filter_map(told).collect()
}

/// The whole text, with what only other programs know about kept.
fn replaced(before: Members, whole: &str) -> Result<Members, Failure> {
    let mut members: Members = serde_json::from_str(whole).map_err(|error| {
        let failure = Failure::new(Kind::Usage, format!("that is not a JSON object: {error}"));
        failure.hint("such as {\"Network\":\"10.88.0.0/16\",\"Backend\":{\"Type\":\"vxlan\"}}")
    })?;
    if let (Some(Value::Object(theirs)), Some(name)) =
        (last(&before, "Backend").cloned(), last_name(&members, "Backend"))
        && let Some(Value::Object(ours)) = members.get_mut(&name)
    {
        keep_unknown(ours, theirs, &OPTIONS);
    }
    keep_unknown(&mut members, before, &MEMBERS);
    Ok(members)
}

fn keep_unknown(members: &mut Members, before: Members, known: &[&str]) {
    for (name, value) in before {
        let is_known = known.iter().any(|known| alike(&name, known));
        if !is_known && last(members, &name).is_none() {
            members.insert(name, value);
        }
    }
}

fn changed(
    mut members: Members,
    wish: &Wish,
    old: Option<&NetworkConfig>,
) -> Result<Members, Failure> {
    // Of which family the first addresses are stays as it is.
    let family = old.map_or(Family::V4, |old| old.network.family());
    if wish.network.is_some() || wish.subnet_len.is_some() {
        forget_default_bounds(&mut members, old.map(NetworkConfig::first));
    }
    if wish.ipv6_network.is_some() || wish.ipv6_subnet_len.is_some() {
        forget_default_bounds(&mut members, old.and_then(|old| old.ipv6));
    }
    let [network, len, min, max] = names(family);
    if let Some(wanted) = wish.network {
        if wanted.family() != family {
            return Err(another_family(wanted, family));
        }
        put(&mut members, network, Some(wanted.to_string().into()));
    }
    let address = |value: std::net::IpAddr| Value::from(value.to_string());
    set(&mut members, len, wish.subnet_len, Value::from);
    set(&mut members, min, wish.subnet_min, address);
    set(&mut members, max, wish.subnet_max, address);
    beside(&mut members, wish, family)?;

    let options =
        [wish.backend.is_some(), wish.port.is_some(), wish.vni.is_some(), wish.mtu.is_some()];
    if options.contains(&true) {
        let backend = last(&members, "Backend").and_then(Value::as_object).cloned();
        let backend = changed_backend(backend.unwrap_or_default(), wish)?;
        put(&mut members, "Backend", Some(Value::Object(backend)));
    }
    Ok(members)
}

/// The addresses of IPv6 beside those of IPv4.
fn beside(members: &mut Members, wish: &Wish, first: Family) -> Result<(), Failure> {
    if wish.ipv6_network.is_none() && wish.ipv6_subnet_len.is_none() {
        return Ok(());
    }
    if first == Family::V6 {
        let message =
            "the network has addresses of IPv6 alone, and --ipv6-network is for those beside IPv4";
        return Err(Failure::new(Kind::Usage, message).hint("use --network and --subnet-len"));
    }
    let [network, len, min, max] = names(Family::V6);
    match wish.ipv6_network {
        None => {}
        Some(OrDefault::Default) => {
            for member in ["EnableIPv6", network, len, min, max] {
                put(members, member, None);
            }
        }
        Some(OrDefault::Value(wanted)) if wanted.family() == Family::V6 => {
            put(members, "EnableIPv6", Some(true.into()));
            put(members, network, Some(wanted.to_string().into()));
        }
        Some(OrDefault::Value(wanted)) => return Err(another_family(wanted, Family::V6)),
    }
    set(members, len, wish.ipv6_subnet_len, Value::from);
    Ok(())
}

fn another_family(wanted: Subnet, family: Family) -> Failure {
    let message = format!("{wanted} is no block of {family} addresses");
    let hint = "--ipv6-network adds IPv6 to a network of IPv4; from one family to the other alone leads \
                only --json or --file";
    Failure::new(Kind::Usage, message).hint(hint)
}

/// The members of one family: the network, and length, first and last of its subnets.
fn names(family: Family) -> [&'static str; 4] {
    match family {
        Family::V4 => ["Network", "SubnetLen", "SubnetMin", "SubnetMax"],
        Family::V6 => ["IPv6Network", "IPv6SubnetLen", "IPv6SubnetMin", "IPv6SubnetMax"],
    }
}

/// Bounds that only spell the defaults out follow the network. `network init` writes such.
fn forget_default_bounds(members: &mut Members, old: Option<Range>) {
    let Some(old) = old else { return };
    let draft = DraftRange { subnet_len: Some(old.subnet_len), ..DraftRange::new(old.network) };
    let Ok(default) = draft.build() else { return };
    let [_network, _len, min, max] = names(old.network.family());
    if old.subnet_min == default.subnet_min {
        put(members, min, None);
    }
    if old.subnet_max == default.subnet_max {
        put(members, max, None);
    }
}

fn changed_backend(mut options: Members, wish: &Wish) -> Result<Members, Failure> {
    let text = |found: &Value| found.as_str().map(str::to_lowercase);
    let before = match last(&options, "Type") {
        // flannel's default, when there is no `Backend` at all.
        None => "udp".to_owned(),
        Some(found) => text(found).unwrap_or_default(),
    };
    let now = match wish.backend {
        Some(backend) => name(backend),
        None => before.as_str(),
    };
    if now != before {
        // A port of one backend is not the other's.
        for option in OPTIONS.iter().filter(|option| **option != "Type") {
            put(&mut options, option, None);
        }
    }
    fits(now, wish)?;
    let port = if now == "wireguard" { "ListenPort" } else { "Port" };
    put(&mut options, "Type", Some(now.into()));
    set(&mut options, port, wish.port, Value::from);
    set(&mut options, "VNI", wish.vni, Value::from);
    set(&mut options, "MTU", wish.mtu, Value::from);
    Ok(options)
}

/// An option that its backend would ignore is a slip.
fn fits(backend: &str, wish: &Wish) -> Result<(), Failure> {
    let given = [
        ("--port", is_value(wish.port.as_ref()), backend == "host-gw"),
        ("--vni", is_value(wish.vni.as_ref()), backend != "vxlan"),
        ("--mtu", is_value(wish.mtu.as_ref()), !["vxlan", "wireguard"].contains(&backend)),
    ];
    let Some((option, ..)) = given.into_iter().find(|(_option, given, strange)| *given && *strange)
    else {
        return Ok(());
    };
    let message = format!("{option} means nothing to the backend {backend}");
    Err(Failure::new(Kind::Usage, message).hint("leave it out, or add --backend vxlan"))
}

fn is_value<T>(option: Option<&OrDefault<T>>) -> bool {
    matches!(option, Some(OrDefault::Value(_)))
}

fn name(backend: Backend) -> &'static str {
    match backend {
        Backend::Udp => "udp",
        Backend::Vxlan => "vxlan",
        Backend::Wireguard => "wireguard",
        Backend::HostGw => "host-gw",
    }
}

fn set<T>(
    members: &mut Members,
    name: &str,
    wish: Option<OrDefault<T>>,
    to_json: impl Fn(T) -> Value,
) {
    match wish {
        None => {}
        Some(OrDefault::Default) => put(members, name, None),
        Some(OrDefault::Value(value)) => put(members, name, Some(to_json(value))),
    }
}

/// In the place of the member, however it is written; at the end if there is none.
fn put(members: &mut Members, name: &str, value: Option<Value>) {
    let mut value = value;
    let before = std::mem::take(members);
    for (known, found) in before {
        if !alike(&known, name) {
            members.insert(known, found);
        } else if let Some(value) = value.take() {
            members.insert(name.to_owned(), value);
        }
    }
    if let Some(value) = value {
        members.insert(name.to_owned(), value);
    }
}

fn last<'a>(members: &'a Members, name: &str) -> Option<&'a Value> {
    members
        .iter()
        .filter(|(known, _value)| alike(known, name))
        .map(|(_name, value)| value)
        .next_back()
}

fn last_name(members: &Members, name: &str) -> Option<String> {
    members.keys().rfind(|known| alike(known, name)).cloned()
}

fn alike(name: &str, known: &str) -> bool {
    name.eq_ignore_ascii_case(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"{"Network":"10.88.0.0/16","SubnetLen":24,"SubnetMin":"10.88.1.0","SubnetMax":"10.88.255.0","Backend":{"Type":"udp","Port":8285}}"#;
    const ODD: &str = r#"{"colour":"red","network":"10.88.0.0/16","BACKEND":{"type":"VXLAN","MacPrefix":"0E","vni":7,"mtu":9000}}"#;

    #[test]
    fn only_what_is_asked_for_changes() {
        let mtu = |value| Wish { mtu: Some(value), ..nothing() };
        let len = |len| Wish { subnet_len: Some(OrDefault::Value(len)), ..nothing() };
        check([
            (
                "one member, and what others wrote stays",
                ODD,
                mtu(OrDefault::Value(1400)),
                r#"{"colour":"red","network":"10.88.0.0/16","Backend":{"Type":"vxlan","MacPrefix":"0E","vni":7,"MTU":1400}}"#,
            ),
            (
                "a default takes the member out",
                ODD,
                mtu(OrDefault::Default),
                r#"{"colour":"red","network":"10.88.0.0/16","Backend":{"Type":"vxlan","MacPrefix":"0E","vni":7}}"#,
            ),
            (
                "bounds that spell the defaults out follow",
                FULL,
                len(26),
                r#"{"Network":"10.88.0.0/16","SubnetLen":26,"Backend":{"Type":"udp","Port":8285}}"#,
            ),
            (
                "bounds of somebody's choice stay",
                r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.9.0"}"#,
                len(26),
                r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.9.0","SubnetLen":26}"#,
            ),
            (
                "all at once, over what was broken",
                r#"{"Network":"10.88.0.0/16","SubnetLen":40,"subnetlen":41}"#,
                Wish {
                    network: Some("10.99.0.0/16".parse().unwrap()),
                    subnet_len: Some(OrDefault::Default),
                    subnet_max: Some(OrDefault::Value([10, 99, 9, 0].into())),
                    ..nothing()
                },
                r#"{"Network":"10.99.0.0/16","SubnetMax":"10.99.9.0"}"#,
            ),
        ]);
    }

    #[test]
    fn another_backend_has_options_of_its_own() {
        let backend = |backend| Wish { backend: Some(backend), ..nothing() };
        check([
            (
                "another backend has its own port",
                FULL,
                backend(Backend::Vxlan),
                r#"{"Network":"10.88.0.0/16","SubnetLen":24,"SubnetMin":"10.88.1.0","SubnetMax":"10.88.255.0","Backend":{"Type":"vxlan"}}"#,
            ),
            (
                "and no other options",
                ODD,
                backend(Backend::HostGw),
                r#"{"colour":"red","network":"10.88.0.0/16","Backend":{"Type":"host-gw","MacPrefix":"0E"}}"#,
            ),
            (
                "the same backend keeps them",
                ODD,
                backend(Backend::Vxlan),
                r#"{"colour":"red","network":"10.88.0.0/16","Backend":{"Type":"vxlan","MacPrefix":"0E","vni":7,"mtu":9000}}"#,
            ),
            (
                "no backend at all is udp",
                r#"{"Network":"10.88.0.0/16"}"#,
                Wish { port: Some(OrDefault::Value(7000)), ..nothing() },
                r#"{"Network":"10.88.0.0/16","Backend":{"Type":"udp","Port":7000}}"#,
            ),
        ]);
    }

    #[test]
    fn ipv6_comes_beside_ipv4_and_goes() {
        let both = r#"{"Network":"10.88.0.0/16","Backend":{"Type":"vxlan"},"EnableIPv6":true,"IPv6Network":"fd00:88::/48","IPv6SubnetLen":64,"IPv6SubnetMin":"fd00:88:0:1::","IPv6SubnetMax":"fd00:88:0:ffff::"}"#;
        let alone = r#"{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:88::/48","Backend":{"Type":"vxlan"}}"#;
        let block = |text: &str| Some(OrDefault::Value(text.parse().unwrap()));
        check([
            (
                "it comes",
                r#"{"Network":"10.88.0.0/16","Backend":{"Type":"vxlan"}}"#,
                Wish { ipv6_network: block("fd00:88::/48"), ..nothing() },
                r#"{"Network":"10.88.0.0/16","Backend":{"Type":"vxlan"},"EnableIPv6":true,"IPv6Network":"fd00:88::/48"}"#,
            ),
            (
                "it becomes another, and bounds that spelled defaults out go",
                both,
                Wish { ipv6_network: block("fd00:99::/48"), ..nothing() },
                r#"{"Network":"10.88.0.0/16","Backend":{"Type":"vxlan"},"EnableIPv6":true,"IPv6Network":"fd00:99::/48","IPv6SubnetLen":64}"#,
            ),
            (
                "it goes",
                both,
                Wish { ipv6_network: Some(OrDefault::Default), ..nothing() },
                r#"{"Network":"10.88.0.0/16","Backend":{"Type":"vxlan"}}"#,
            ),
            (
                "IPv6 alone has the options of a network",
                alone,
                Wish { subnet_len: Some(OrDefault::Value(56)), ..nothing() },
                r#"{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:88::/48","Backend":{"Type":"vxlan"},"IPv6SubnetLen":56}"#,
            ),
        ]);
        for (name, before, wish) in [
            ("IPv4 for IPv6", both, Wish { ipv6_network: block("10.9.0.0/16"), ..nothing() }),
            ("IPv6 for IPv4", both, Wish { network: "fd00::/48".parse().ok(), ..nothing() }),
            ("beside nothing", alone, Wish { ipv6_network: block("fd00::/48"), ..nothing() }),
        ] {
            let failure = edit(before.as_bytes(), &wish, None).expect_err(name);
            assert_eq!(failure.exit_code(), 2, "{name}");
            assert!(failure.to_string().contains("\nhint: "), "{name}: {failure}");
        }
    }

    /// Rows are a name, what is there, what is asked for, and what comes of it.
    #[track_caller]
    fn check<const N: usize>(rows: [(&str, &str, Wish, &str); N]) {
        for (name, before, wish, want) in rows {
            let text = edit(before.as_bytes(), &wish, None).expect(name);
            assert_eq!(text, want, "{name}");
            NetworkConfig::parse(text.as_bytes()).expect(name);
        }
    }

    #[test]
    fn a_whole_configuration_keeps_what_others_wrote() {
        let rows = [
            (
                ODD,
                r#"{"Network":"10.99.0.0/16","backend":{"Type":"vxlan"}}"#,
                r#"{"Network":"10.99.0.0/16","backend":{"Type":"vxlan","MacPrefix":"0E"},"colour":"red"}"#,
            ),
            (
                ODD,
                r#"{"Network":"10.99.0.0/16","Colour":"blue"}"#,
                r#"{"Network":"10.99.0.0/16","Colour":"blue"}"#,
            ),
            ("not json", r#"{"Network":"10.99.0.0/16"}"#, r#"{"Network":"10.99.0.0/16"}"#),
        ];
        for (before, whole, want) in rows {
            assert_eq!(edit(before.as_bytes(), &nothing(), Some(whole)).unwrap(), want);
        }
        for whole in ["", "[]", "{", "\"x\""] {
            let failure = edit(FULL.as_bytes(), &nothing(), Some(whole)).expect_err(whole);
            assert_eq!(failure.exit_code(), 2, "{whole}");
        }
    }

    #[test]
    fn what_its_backend_would_ignore_is_refused() {
        let (mtu, vni) = (Some(OrDefault::Value(1400)), Some(OrDefault::Value(7)));
        let rows = [
            ("--mtu", FULL, Wish { mtu, ..nothing() }),
            ("--vni", ODD, Wish { vni, backend: Some(Backend::Udp), ..nothing() }),
            (
                "--port",
                FULL,
                Wish {
                    port: Some(OrDefault::Value(1)),
                    backend: Some(Backend::HostGw),
                    ..nothing()
                },
            ),
        ];
        for (option, before, wish) in rows {
            let failure = edit(before.as_bytes(), &wish, None).expect_err(option);
            assert!(failure.to_string().contains(option), "{failure}");
            assert_eq!(failure.exit_code(), 2, "{option}");
        }
        let failure = edit(b"not json", &Wish { mtu, ..nothing() }, None).unwrap_err();
        assert!(failure.to_string().contains("--file"), "{failure}");
    }

    #[test]
    fn what_another_backend_takes_out_is_told() {
        let wish = Wish { backend: Some(Backend::Udp), ..nothing() };
        let text = edit(ODD.as_bytes(), &wish, None).unwrap();
        assert_eq!(dropped(ODD.as_bytes(), text.as_bytes()), ["VNI 7", "MTU 9000"]);
        assert_eq!(dropped(ODD.as_bytes(), ODD.as_bytes()), [""; 0]);
        assert_eq!(dropped(b"not json", ODD.as_bytes()), [""; 0]);
    }

    fn nothing() -> Wish {
        Wish {
            network: None,
            backend: None,
            subnet_len: None,
            subnet_min: None,
            subnet_max: None,
            ipv6_network: None,
            ipv6_subnet_len: None,
            port: None,
            vni: None,
            mtu: None,
            file: None,
            json: None,
        }
    }
}
