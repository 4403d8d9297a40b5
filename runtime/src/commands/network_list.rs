//! `twill network ls` and `inspect`: the three networks that every host has.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use twill_endpoint::BRIDGE;

use crate::commands::{Code, each};
use crate::container::{Container, Network, Status, Store, id, reap};
use crate::listing::{FORMAT_HELP, Filters, Format, Listing, filters};
use crate::template::{Data, Template};
use crate::{Error, Paths, output};

const LISTING: Listing = Listing {
    headings: &[
        ("CreatedAt", "CREATED AT"),
        ("Driver", "DRIVER"),
        ("ID", "NETWORK ID"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("Name", "NAME"),
        ("Scope", "SCOPE"),
    ],
    columns: "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
};

const NETWORKS: [Network; 3] = [Network::Bridge, Network::Host, Network::None];

/// Arguments of `ls`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  twill network ls
  twill network ls -q -f driver=bridge
  twill network ls --format '{{.Name}} {{.Driver}}'

Fields: .ID .Name .Driver .Scope .IPv6 .Internal .Labels .CreatedAt
Filters: driver, id, name, scope, type")]
pub struct List {
    /// Print the ids only
    #[arg(short, long)]
    quiet: bool,
    /// Print ids in full
    #[arg(long)]
    no_trunc: bool,
    /// Only those that fit
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "table", long_help = FORMAT_HELP)]
    format: Format,
}

/// Arguments of `inspect`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  twill network inspect bridge
  twill network inspect -f '{{range .Containers}}{{println .Name .IPv4Address}}{{end}}' bridge")]
pub struct Inspect {
    /// What is printed of each: a Go template, or `json` for one line
    #[arg(short, long, value_name = "TEMPLATE", value_parser = Template::of_format)]
    format: Option<Template>,
    /// Names, ids or starts of ids
    #[arg(required = true)]
    networks: Vec<String>,
}

/// Lists them.
pub fn list(args: &List, paths: &Paths) -> anyhow::Result<Code> {
    let wanted = Filters::parse(&args.filter, &["driver", "id", "name", "scope", "type"])?;
    let mut all = NETWORKS.to_vec();
    all.retain(|network| {
        let (own, name) = (id_of(*network), network.as_str());
        wanted.any("driver", |driver| driver == driver_of(*network))
            && wanted.any("id", |id| own.starts_with(id))
            && wanted.any("name", |wish| filters::matches(wish, &[name]))
            && wanted.any("scope", |scope| scope == "local")
            && wanted.any("type", |kind| kind == "builtin")
    });
    let shown = |network: &Network| {
        let own = id_of(*network);
        if args.no_trunc { own } else { id::short(&own).to_owned() }
    };
    if args.quiet && !args.format.is_own() {
        for network in &all {
            output::line(shown(network));
        }
        return Ok(Code::OK);
    }
    let ipv6 = has_ipv6(paths);
    let row = |network: &Network| {
        Data::from(json!({
            "CreatedAt": "",
            "Driver": driver_of(*network),
            "ID": shown(network),
            "IPv6": (*network == Network::Bridge && ipv6).to_string(),
            "Internal": "false",
            "Labels": "",
            "Name": network.as_str(),
            "Scope": "local",
        }))
    };
    let rows: Vec<Data> = all.iter().map(row).collect();
    LISTING.print(&args.format, &rows)?;
    Ok(Code::OK)
}

/// Shows all that is known of each; those that were found are shown even if another was not.
pub fn inspect(args: &Inspect, paths: &Paths) -> anyhow::Result<Code> {
    let containers = reap::settle_all(&Store::new(paths))?;
    let (mut found, mut code) = (Vec::new(), Code::OK);
    for name in &args.networks {
        let is_it = |network: &&Network| {
            network.as_str() == name || (!name.is_empty() && id_of(**network).starts_with(name))
        };
        if let Some(network) = NETWORKS.iter().find(is_it) {
            found.push(show(paths, *network, &containers));
        } else {
            each::complain(&Error::NoSuchNetwork(name.clone()));
            code = Code(1);
        }
    }
    let Some(template) = &args.format else {
        output::pretty(&Value::Array(found));
        return Ok(code);
    };
    for one in found {
        output::line(template.render(&Data::from(one))?);
    }
    Ok(code)
}

/// The same on every host, as long as the name is.
#[must_use]
pub fn id_of(network: Network) -> String {
    let digest = Sha256::digest(format!("twill network {}", network.as_str()));
    digest.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn driver_of(network: Network) -> &'static str {
    match network {
        Network::None => "null",
        other => other.as_str(),
    }
}

fn has_ipv6(paths: &Paths) -> bool {
    let env = reap::host(paths).read_env();
    env.is_ok_and(|env| env.blocks().any(|blocks| blocks.subnet.first_host().is_ipv6()))
}

fn show(paths: &Paths, network: Network, containers: &[Container]) -> Value {
    let env = reap::host(paths).read_env().ok().filter(|_| network == Network::Bridge);
    let block = |subnet: twill_core::ids::Subnet| json!({"Subnet": subnet.to_string(), "Gateway": subnet.first_host().to_string()});
    let blocks: Vec<Value> = env
        .iter()
        .flat_map(twill_core::subnet_env::SubnetEnv::blocks)
        .map(|it| block(it.subnet))
        .collect();
    let mut options = Map::new();
    if let Some(env) = &env {
        options.insert("com.docker.network.bridge.default_bridge".into(), json!("true"));
        options.insert("com.docker.network.bridge.enable_icc".into(), json!("true"));
        let masquerades = env.ip_masq.to_string();
        options.insert("com.docker.network.bridge.enable_ip_masquerade".into(), json!(masquerades));
        options.insert("com.docker.network.bridge.host_binding_ipv4".into(), json!("0.0.0.0"));
        options.insert("com.docker.network.bridge.name".into(), json!(BRIDGE));
        options.insert("com.docker.network.driver.mtu".into(), json!(env.mtu.to_string()));
    }
    json!({
        "Name": network.as_str(),
        "Id": id_of(network),
        "Scope": "local",
        "Driver": driver_of(network),
        "EnableIPv6": network == Network::Bridge && has_ipv6(paths),
        "IPAM": {"Driver": "default", "Options": null, "Config": blocks},
        "Internal": false,
        "Attachable": false,
        "Ingress": false,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": false,
        "Containers": on(network, containers),
        "Options": options,
        "Labels": {},
    })
}

/// Those that run there.
fn on(network: Network, containers: &[Container]) -> Map<String, Value> {
    let runs =
        |one: &&Container| one.record.network == network && one.state.status == Status::Running;
    let row = |Container { record, state }: &Container| {
        let address = state.address.as_ref();
        let of = |ipv6: bool| {
            let ip = address.and_then(|it| it.all().find(|ip| ip.ip.is_ipv6() == ipv6));
            ip.map_or_else(String::new, |ip| format!("{}/{}", ip.ip, ip.prefix_length))
        };
        let shown = json!({
            "Name": record.name,
            "EndpointID": record.id,
            "MacAddress": address.map_or("", |address| address.mac.as_str()),
            "IPv4Address": of(false),
            "IPv6Address": of(true),
        });
        (record.id.clone(), shown)
    };
    containers.iter().filter(runs).map(row).collect()
}
