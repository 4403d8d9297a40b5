//! The result of an ADD, in the shape of each release of the specification.

use serde_json::{Map, Value, json};
use twill_core::ids::Mtu;
use twill_endpoint::{Attachment, End, Place, StaticRoute};

use crate::config::Config;
use crate::version::Version;

/// The result for the runtime: what we have made, after what the plugins before us have made.
pub(crate) fn outcome(config: &Config, attachment: &Attachment) -> Value {
    let mut result = config.previous.clone().unwrap_or_default();
    let before = result.get("interfaces").and_then(Value::as_array).map_or(0, Vec::len);
    result.insert("cniVersion".to_owned(), json!(config.version.as_str()));
    append(&mut result, "interfaces", interfaces(config.version, attachment));
    let address = |place: &Place| address(config.version, place, before);
    append(&mut result, "ips", attachment.places.iter().map(address).collect());
    append(
        &mut result,
        "routes",
        attachment.routes.iter().map(|row| route(row, attachment)).collect(),
    );
    if !result.contains_key("dns") {
        result.insert("dns".to_owned(), config.dns.clone().unwrap_or_else(|| json!({})));
    }
    Value::Object(result)
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
