//! The result of an ADD, in the shape of each release of the specification.

use serde_json::{Map, Value, json};
use twill_core::ids::Mtu;
use twill_endpoint::{Attachment, End, Place, StaticRoute};

use crate::version::Version;

/// The result for the runtime: what we have made, after what the plugins before us have made.
pub(crate) fn outcome(
    (version, dns): (Version, &Map<String, Value>),
    previous: Option<Map<String, Value>>,
    attachment: &Attachment,
) -> Value {
    let mut result = previous.unwrap_or_default();
    convert(&mut result, version);
    let before = result.get("interfaces").and_then(Value::as_array).map_or(0, Vec::len);
    result.insert("cniVersion".to_owned(), json!(version.as_str()));
    append(&mut result, "interfaces", interfaces(version, attachment));
    let address = |place: &Place| address(version, place, before);
    append(&mut result, "ips", attachment.places.iter().map(address).collect());
    append(
        &mut result,
        "routes",
        attachment.routes.iter().map(|row| route(row, attachment)).collect(),
    );
    // An empty one is how the reference library writes none.
    let said = |value: &Value| value.as_object().is_some_and(|members| !members.is_empty());
    if !result.get("dns").is_some_and(said) {
        result.insert("dns".to_owned(), Value::Object(dns.clone()));
    }
    Value::Object(result)
}

/// Brings what others have made into the release that is asked for. Runtimes do that as well, but not all.
fn convert(result: &mut Map<String, Value>, version: Version) {
    // Members that came with 1.1.
    let newer: [(&str, &[&str]); 2] = [
        ("interfaces", &["mtu", "socketPath", "pciID"]),
        ("routes", &["mtu", "advmss", "priority", "table", "scope"]),
    ];
    for (list, members) in newer.iter().filter(|_| version < Version::V1_1_0) {
        for row in rows(result, list) {
            row.retain(|key, _value| !members.contains(&key.as_str()));
        }
    }
    for row in rows(result, "ips") {
        let ipv6 = row.get("address").and_then(Value::as_str).is_some_and(|it| it.contains(':'));
        row.shift_remove("version");
        if version < Version::V1_0_0 {
            row.insert("version".to_owned(), json!(if ipv6 { "6" } else { "4" }));
        }
    }
}

fn rows<'a>(
    result: &'a mut Map<String, Value>,
    list: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    let list = result.get_mut(list).and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(Value::as_object_mut)
}

/// The container's is the last: `ips` point at it.
fn interfaces(version: Version, attachment: &Attachment) -> Vec<Value> {
    let mtu = Some(attachment.mtu).filter(|_mtu| version >= Version::V1_1_0);
    let mut container = interface(&attachment.container, mtu);
    container["sandbox"] = json!(attachment.netns);
    vec![interface(&attachment.bridge, None), interface(&attachment.host, mtu), container]
}

fn interface(end: &End, mtu: Option<Mtu>) -> Value {
    let mut interface = json!({ "name": end.name, "mac": end.mac.to_string() });
    if let Some(mtu) = mtu {
        interface["mtu"] = json!(mtu.bytes());
    }
    interface
}

fn address(version: Version, place: &Place, before: usize) -> Value {
    let mut address = json!({
        "address": format!("{}/{}", place.address, place.subnet.len()),
        "gateway": place.gateway(),
        "interface": before + 2,
    });
    // Before 1.0 each address said of which family it was.
    if version < Version::V1_0_0 {
        address["version"] = json!(if place.address.is_ipv4() { "4" } else { "6" });
    }
    address
}

fn route(route: &StaticRoute, attachment: &Attachment) -> Value {
    let gateway = route.gateway.or_else(|| attachment.gateway(route.destination.family()));
    json!({ "dst": route.destination.to_string(), "gw": gateway })
}

fn append(result: &mut Map<String, Value>, key: &str, ours: Vec<Value>) {
    match result.get_mut(key) {
        Some(Value::Array(list)) => list.extend(ours),
        _none => drop(result.insert(key.to_owned(), Value::Array(ours))),
    }
}
