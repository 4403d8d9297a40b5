//! Where a container is on the network: `NetworkSettings`.

use serde_json::{Map, Value, json};
use twill_core::ids::Family;

use super::listed;
use crate::container::{Address, Network, Record, State, Status};
use crate::listing::ports::places;

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

/// `NetworkSettings` of a container that fares so.
#[must_use]
pub fn network(record: &Record, state: &State) -> Value {
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
