//! `twill port`: where the ports of a container are reached from outside.

use serde_json::{Map, Value};

use crate::commands::{Code, each};
use crate::container::Store;
use crate::{Paths, inspect, output};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  twill port web                  every published port, as `80/tcp -> 0.0.0.0:8080`
  twill port web 80               where port 80/tcp is reached
  twill port web 53/udp")]
pub struct Args {
    /// The container, by name, id or the start of its id
    pub container: String,
    /// Only this port of the container
    #[arg(value_name = "PORT[/PROTOCOL]")]
    pub port: Option<String>,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let store = Store::new(paths);
    let container = each::one(&store, &args.container)?;
    let network = inspect::network(&container.record, &container.state);
    let none = Map::new();
    let ports = network["Ports"].as_object();
    let lines = lines(ports.unwrap_or(&none), args.port.as_deref());
    if let (Some(port), true) = (&args.port, lines.is_empty()) {
        anyhow::bail!("No public port '{port}' published for {}", args.container);
    }
    lines.iter().for_each(output::line);
    Ok(Code::OK)
}

/// One for each address; with a port asked for, the addresses alone.
fn lines(ports: &Map<String, Value>, wanted: Option<&str>) -> Vec<String> {
    let wanted =
        wanted.map(|port| if port.contains('/') { port.to_owned() } else { format!("{port}/tcp") });
    let mut lines = Vec::new();
    let mut sorted: Vec<(&String, &Value)> = ports.iter().collect();
    sorted.sort_by_key(|(port, _)| order(port));
    for (port, bindings) in sorted {
        if wanted.as_ref().is_some_and(|wanted| wanted != port) {
            continue;
        }
        for binding in bindings.as_array().into_iter().flatten() {
            let text = |key: &str| binding.get(key).and_then(Value::as_str).unwrap_or_default();
            let (address, number) = (text("HostIp"), text("HostPort"));
            let place = if address.contains(':') {
                format!("[{address}]:{number}")
            } else {
                format!("{address}:{number}")
            };
            lines.push(if wanted.is_some() { place } else { format!("{port} -> {place}") });
        }
    }
    lines
}

/// By number and then by protocol.
fn order(port: &str) -> (u16, &str) {
    let (number, protocol) = port.split_once('/').unwrap_or((port, ""));
    (number.parse().unwrap_or(0), protocol)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ports_are_lines() {
        let ports = json!({
            "443/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8443"}, {"HostIp": "::", "HostPort": "8443"}],
            "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}],
            "53/udp": [{"HostIp": "0.0.0.0", "HostPort": "53"}],
            "9000/tcp": null,
        });
        let ports = ports.as_object().unwrap();
        let check = |wanted: Option<&str>, want: &[&str]| assert_eq!(lines(ports, wanted), want);
        check(
            None,
            &[
                "53/udp -> 0.0.0.0:53",
                "80/tcp -> 127.0.0.1:8080",
                "443/tcp -> 0.0.0.0:8443",
                "443/tcp -> [::]:8443",
            ],
        );
        check(Some("80"), &["127.0.0.1:8080"]);
        check(Some("443/tcp"), &["0.0.0.0:8443", "[::]:8443"]);
        check(Some("53/udp"), &["0.0.0.0:53"]);
        check(Some("53"), &[]);
        check(Some("9000"), &[]);
    }
}
