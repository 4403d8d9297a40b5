//! A list of plugins, as runtimes read it. Pure.

use serde_json::{Map, Value, json};
use twill_core::ids::NetworkName;

/// Our plugin.
pub(super) const TYPE: &str = "twill-cni";

/// The one that the sources show; it says what each host does that is in one network.
const TEMPLATE: &str = include_str!("../../../packaging/examples/10-twill.conflist");

/// What is different from host to host: these, and the list's name.
const OF_A_HOST: [&str; 3] = ["bridge", "subnetFile", "stateDir"];

/// What may be said about a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// The list's name.
    pub(super) name: Option<&'a str>,
    /// The bridge to join.
    pub(super) bridge: Option<&'a str>,
    /// Which of the networks that the host is in.
    pub(super) network: Option<&'a NetworkName>,
}

/// The list; each network of several has its own bridge, pool and file of the subnet.
pub(super) fn list(wanted: Wanted<'_>) -> Value {
    let mut list = template();
    let network = wanted.network.map(NetworkName::to_string);
    if let Some(name) = wanted.name.or(network.as_deref()) {
        list["name"] = json!(name);
    }
    let mut settings = Map::new();
    let bridge = network.as_ref().map(|network| format!("twill-{network}"));
    if let Some(bridge) = wanted.bridge.map(str::to_owned).or(bridge) {
        settings.insert("bridge".to_owned(), json!(bridge));
    }
    if let Some(network) = network {
        let file = format!("/run/twill/networks/{network}.env");
        settings.insert("subnetFile".to_owned(), json!(file));
        let state = format!("/var/lib/twill/endpoint-{network}");
        settings.insert("stateDir".to_owned(), json!(state));
    }
    if let Some(plugin) = list["plugins"][0].as_object_mut() {
        // What a person looks for comes before the long list of capabilities.
        let capabilities = plugin.shift_remove("capabilities");
        plugin.extend(settings);
        plugin.extend(capabilities.map(|it| ("capabilities".to_owned(), it)));
    }
    list
}

/// Has `install` written that, for whatever network, and nobody touched it since?
pub(super) fn is_ours(found: &Value) -> bool {
    let bare = |list: &Value| {
        let mut list = list.clone();
        list["name"] = Value::Null;
        if let Some(plugin) = list.pointer_mut("/plugins/0").and_then(Value::as_object_mut) {
            plugin.retain(|key, _value| !OF_A_HOST.contains(&key.as_str()));
        }
        list
    };
    found.is_object() && bare(found) == bare(&template())
}

fn template() -> Value {
    // A test reads it.
    serde_json::from_str(TEMPLATE).unwrap_or_default()
}

/// The configurations that runtimes take before that one: by name, whatever they hold.
pub(super) fn before(file: &str, mut others: Vec<String>) -> Vec<String> {
    let read = |name: &str| {
        name.rsplit_once('.')
            .is_some_and(|(_stem, end)| matches!(end, "conf" | "conflist" | "json"))
    };
    others.retain(|other| read(other) && other.as_str() < file);
    others.sort();
    others
}

/// What our plugin would be asked with, and the types of all plugins of the list.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plugins {
    /// Its own object, with the list's name.
    pub(super) ours: Value,
    /// All, in order.
    pub(super) types: Vec<String>,
    /// The list's name.
    pub(super) name: String,
}

/// Reads a list, or tells what is wrong with it.
pub(super) fn read(text: &str) -> Result<Plugins, String> {
    let list: Value =
        serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?;
    let name = list["name"].as_str().filter(|name| !name.is_empty()).ok_or("has no `name`")?;
    let plugins = list["plugins"].as_array().ok_or("has no list `plugins`")?;
    let of = |plugin: &Value| plugin["type"].as_str().map(str::to_owned);
    let types: Option<Vec<String>> = plugins.iter().map(of).collect();
    let types = types.ok_or("has a plugin without `type`")?;
    let ours = plugins.iter().find(|it| it["type"] == TYPE);
    let mut ours = ours.ok_or_else(|| format!("names no plugin of type `{TYPE}`"))?.clone();
    ours["name"] = json!(name);
    Ok(Plugins { ours, types, name: name.to_owned() })
}

/// Podman 4 and containerd 1.6 refuse a result of 1.1.0, and take the list's version for that of the result.
pub(super) fn is_too_new(text: &str) -> bool {
    let list: Value = serde_json::from_str(text).unwrap_or_default();
    let version = list["cniVersion"].as_str().unwrap_or_default();
    !version.is_empty() && !["0.3.1", "0.4.0", "1.0.0"].contains(&version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;
    use crate::report;

    const ALONE: Wanted<'_> = Wanted { name: None, bridge: None, network: None };

    #[test]
    fn lists() {
        assert_eq!(list(ALONE), serde_json::from_str::<Value>(TEMPLATE).unwrap());
        golden::check("cni-list.json", &report::json(&list(ALONE)));
        let network = "green".parse().unwrap();
        let wanted = Wanted { network: Some(&network), ..ALONE };
        golden::check("cni-list-network.json", &report::json(&list(wanted)));
        let named = list(Wanted { name: Some("pods"), bridge: Some("br0"), ..wanted });
        assert_eq!(
            (&named["name"], &named["plugins"][0]["bridge"]),
            (&json!("pods"), &json!("br0"))
        );
    }

    #[test]
    fn whose_a_list_is() {
        let network = "green".parse().unwrap();
        let of_a_network = list(Wanted { network: Some(&network), name: Some("x"), bridge: None });
        let mut edited = list(ALONE);
        edited["plugins"][0]["spoofchk"] = json!(true);
        let mut longer = list(ALONE);
        longer["plugins"].as_array_mut().unwrap().push(json!({ "type": "portmap" }));
        for (name, found, ours) in [
            ("as it is written", list(ALONE), true),
            ("for another network", of_a_network, true),
            ("with a setting more", edited, false),
            ("with a plugin more", longer, false),
            ("another's", json!({ "name": "x", "plugins": [{ "type": "bridge" }] }), false),
            ("an empty one", json!({}), false),
            ("a number", json!(1), false),
        ] {
            assert_eq!(is_ours(&found), ours, "{name}");
        }
    }

    #[test]
    fn order() {
        let names =
            ["99-z.conf", "05-a.json", "00-b.txt", "10-twill.conflist", "10-a.conflist", "00"];
        let names = names.map(str::to_owned).to_vec();
        assert_eq!(before("10-twill.conflist", names), ["05-a.json", "10-a.conflist"]);
    }

    #[test]
    fn readings() {
        let found = read(TEMPLATE).unwrap();
        assert_eq!(
            (found.name.as_str(), found.types.as_slice()),
            ("twill", &[TYPE.to_owned()][..])
        );
        for (text, want) in [
            ("", "is not JSON"),
            ("[]", "has no `name`"),
            (r#"{"name":"a"}"#, "has no list `plugins`"),
            (r#"{"name":"a","plugins":[{}]}"#, "without `type`"),
            (r#"{"name":"a","plugins":[{"type":"bridge"}]}"#, "no plugin of type `twill-cni`"),
        ] {
            assert!(read(text).unwrap_err().contains(want), "{text}");
        }
        assert!(is_too_new(r#"{"cniVersion":"1.1.0"}"#) && !is_too_new(TEMPLATE));
    }
}
