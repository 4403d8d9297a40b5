//! The ports of a container that the runtime wants published: the capability `portMappings`.

use twill_endpoint::Port;

use super::Runtime;
use crate::document::Document;
use crate::error::{Code, Failure};

/// Each once. A port of the host that is none is not published: so runtimes write ports that a container
/// only has.
pub(super) fn ports(runtime: &Runtime<'_>) -> Result<Vec<Port>, Failure> {
    let mut ports: Vec<Port> = Vec::new();
    if !runtime.may("portMappings")? {
        return Ok(ports);
    }
    for row in runtime.0.objects("portMappings")? {
        let Some(port) = port(&row)? else { continue };
        if ports.contains(&port) {
            continue;
        }
        if let Some(other) = ports.iter().find(|other| other.clashes(&port)) {
            let (from, to) = (other.container_port, port.container_port);
            let message = format!(
                "port {}/{} of the host cannot lead to both {from} and {to}",
                port.host_port, port.protocol
            );
            return Err(Failure::new(Code::InvalidConfiguration, message)
                .hint("publish one of them at another port"));
        }
        ports.push(port);
    }
    ports.sort();
    Ok(ports)
}

fn port(row: &Document<'_>) -> Result<Option<Port>, Failure> {
    let number = |key| match row.number(key)? {
        Some(number) => u16::try_from(number).map(Some).map_err(|_large| row.wrong(key, "a port")),
        None => Ok(None),
    };
    let Some(host_port) = number("hostPort")? else { return Ok(None) };
    let protocol = row.text("protocol")?.unwrap_or("tcp").parse().map_err(|error| {
        let message = format!("a port cannot be published: {error}");
        Failure::new(Code::InvalidConfiguration, message).hint("publish a port of one of these")
    })?;
    let host_ip = row.text("hostIP")?.map(str::parse).transpose();
    Ok(Some(Port {
        container_port: number("containerPort")?
            .ok_or_else(|| row.wrong("containerPort", "a port"))?,
        protocol,
        host_ip: host_ip.map_err(|_other| row.wrong("hostIP", "an address"))?,
        host_port,
    }))
}
