//! Which ports of a container are to be reached from outside, in Docker's words.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use twill_core::firewall::ports::Protocol;

/// A port of a container: `80/tcp`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Exposed {
    /// Its number.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

impl fmt::Display for Exposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.port, self.protocol)
    }
}

impl Serialize for Exposed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Exposed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let range = ExposedRange::from_str(&text).map_err(de::Error::custom)?;
        range.all().next().ok_or_else(|| de::Error::custom("no port"))
    }
}

/// Several at once: `8000-8010/udp`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExposedRange {
    ports: RangeInclusive<u16>,
    protocol: Protocol,
}

impl ExposedRange {
    /// Each of them.
    pub fn all(&self) -> impl Iterator<Item = Exposed> + use<> {
        let protocol = self.protocol;
        self.ports.clone().map(move |port| Exposed { port, protocol })
    }
}

impl FromStr for ExposedRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let ports = range(ports)
            .filter(|ports| *ports.start() > 0)
            .ok_or_else(|| format!("invalid range format for --expose: {text}"))?;
        Ok(Self { ports, protocol: self::protocol(protocol)? })
    }
}

/// Where a port is to be reached.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Binding {
    /// What is reached.
    pub port: Exposed,
    /// At which address of the host; all of them if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
    /// At one of these ports of the host; at any if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ports: Option<(u16, u16)>,
}

impl Binding {
    /// As in Docker's `HostPort`: a number, a range, or nothing.
    #[must_use]
    pub fn host_port(&self) -> String {
        match self.host_ports {
            None => String::new(),
            Some((first, last)) if first == last => first.to_string(),
            Some((first, last)) => format!("{first}-{last}"),
        }
    }
}

/// What `-p` takes: `[IP:][HOST[-LAST]:]PORT[-LAST][/PROTOCOL]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Publish(pub Vec<Binding>);

impl FromStr for Publish {
    type Err = String;

    /// Docker's messages.
    fn from_str(text: &str) -> Result<Self, String> {
        let (rest, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
        let mut parts = rest.rsplitn(3, ':');
        let container = parts.next().unwrap_or_default();
        let host = parts.next().unwrap_or_default();
        let ip = parts.next().unwrap_or_default();
        let ip = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
        let host_ip = match ip {
            "" => None,
            ip => Some(ip.parse().map_err(|_unparsed| format!("invalid IP address: {ip}"))?),
        };
        if container.is_empty() {
            return Err(format!("no port specified: {text}<empty>"));
        }
        let inside = range(container)
            .filter(|ports| *ports.start() > 0)
            .ok_or_else(|| format!("invalid containerPort: {container}"))?;
        let hosts = match host {
            "" => None,
            host => Some(range(host).ok_or_else(|| format!("invalid hostPort: {host}"))?),
        };
        let protocol = self::protocol(protocol)?;
        let hosts = hosts.filter(|hosts| *hosts != (0..=0));
        if let Some(hosts) = &hosts
            && inside.len() > 1
            && inside.len() != hosts.len()
        {
            return Err(format!(
                "invalid ranges specified for container and host Ports: {container} and {host}"
            ));
        }
        let one = inside.len() == 1;
        let binding = |(offset, port): (u16, u16)| {
            let of = |hosts: &RangeInclusive<u16>| {
                let (first, last) = (*hosts.start(), *hosts.end());
                if one { (first, last) } else { (first + offset, first + offset) }
            };
            let host_ports = hosts.as_ref().map(of);
            Binding { port: Exposed { port, protocol }, host_ip, host_ports }
        };
        Ok(Self((0..).zip(inside).map(binding).collect()))
    }
}

fn protocol(text: &str) -> Result<Protocol, String> {
    text.parse().map_err(|_unknown| format!("invalid proto: {text}"))
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let number =
        |text: &str| text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (number(first)?, number(last)?);
    (first <= last).then_some(first..=last)
}

/// All that was said about a container's ports.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ports {
    /// Those that it has, by its image and its user.
    pub exposed: Vec<Exposed>,
    /// Those that are published.
    pub bindings: Vec<Binding>,
    /// Are all others published as well?
    pub publish_all: bool,
}

impl Ports {
    /// From the user's wishes and the ports of the image. What an image says that makes no sense is left out.
    #[must_use]
    pub fn new(bindings: Vec<Binding>, exposed: &[String]) -> Self {
        let exposed = exposed.iter().filter_map(|text| text.parse::<ExposedRange>().ok());
        let mut all: Vec<Exposed> = exposed.flat_map(|range| range.all()).collect();
        all.extend(bindings.iter().map(|binding| binding.port));
        all.sort_unstable();
        all.dedup();
        Self { exposed: all, bindings, publish_all: false }
    }

    /// What has to be published, in order.
    #[must_use]
    pub fn wanted(&self) -> Vec<Binding> {
        let mut wanted = self.bindings.clone();
        let is_bound = |port: &Exposed| self.bindings.iter().any(|it| it.port == *port);
        if self.publish_all {
            let others = self.exposed.iter().filter(|port| !is_bound(port));
            let anywhere =
                |port: &Exposed| Binding { port: *port, host_ip: None, host_ports: None };
            wanted.extend(others.map(anywhere));
        }
        wanted
    }

    /// The bindings by the container's port.
    #[must_use]
    pub fn by_port(&self) -> BTreeMap<Exposed, Vec<&Binding>> {
        let mut found: BTreeMap<Exposed, Vec<&Binding>> = BTreeMap::new();
        for binding in &self.bindings {
            found.entry(binding.port).or_default().push(binding);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_in_dockers_words() {
        let check = |text: &str, want: Result<&str, &str>| {
            let got = text.parse::<Publish>().map(|Publish(all)| {
                let line = |it: &Binding| {
                    let ip = it.host_ip.map(|ip| format!("{ip} ")).unwrap_or_default();
                    format!("{ip}{}>{}", it.host_port(), it.port)
                };
                all.iter().map(line).collect::<Vec<_>>().join(" ")
            });
            assert_eq!(got.as_deref().map_err(String::as_str), want, "{text}");
        };
        for (text, want) in [
            ("80", ">80/tcp"),
            ("8080:80", "8080>80/tcp"),
            (":80", ">80/tcp"),
            ("0:80", ">80/tcp"),
            ("53:53/udp", "53>53/udp"),
            ("80/TCP", ">80/tcp"),
            ("127.0.0.1:8080:80", "127.0.0.1 8080>80/tcp"),
            ("1.2.3.4::80/sctp", "1.2.3.4 >80/sctp"),
            ("[::1]:8080:80", "::1 8080>80/tcp"),
            ("::1:8080:80", "::1 8080>80/tcp"),
            ("8000-8001:90-91", "8000>90/tcp 8001>91/tcp"),
            ("8000-8010:80", "8000-8010>80/tcp"),
            ("90-91", ">90/tcp >91/tcp"),
        ] {
            check(text, Ok(want));
        }
        for (text, want) in [
            ("", "no port specified: <empty>"),
            ("/tcp", "no port specified: /tcp<empty>"),
            ("99999:80", "invalid hostPort: 99999"),
            ("70000", "invalid containerPort: 70000"),
            ("80:0", "invalid containerPort: 0"),
            ("x:80", "invalid hostPort: x"),
            ("+8:80", "invalid hostPort: +8"),
            ("80/xyz", "invalid proto: xyz"),
            ("300.1.1.1:80:80", "invalid IP address: 300.1.1.1"),
            ("localhost:80:80", "invalid IP address: localhost"),
            ("127.0.0.1:80", "invalid hostPort: 127.0.0.1"),
            ("8010-8000:80-90", "invalid hostPort: 8010-8000"),
            ("80-70", "invalid containerPort: 80-70"),
            ("80-", "invalid containerPort: 80-"),
            ("-80", "invalid containerPort: -80"),
            (
                "8000-8002:9000-9001",
                "invalid ranges specified for container and host Ports: 9000-9001 and 8000-8002",
            ),
        ] {
            check(text, Err(want));
        }
    }

    #[test]
    fn what_is_exposed() {
        let all = ["443/tcp", "nonsense", "80", "53/udp"].map(str::to_owned);
        let Publish(bindings) = "8080:80".parse().unwrap();
        let ports = Ports::new(bindings, &all);
        let shown: Vec<String> = ports.exposed.iter().map(Exposed::to_string).collect();
        assert_eq!(shown, ["53/udp", "80/tcp", "443/tcp"]);
        assert_eq!(ports.wanted().len(), 1);
        let ports = Ports { publish_all: true, ..ports };
        let wanted: Vec<String> =
            ports.wanted().iter().map(|it| format!("{}:{}", it.host_port(), it.port)).collect();
        assert_eq!(wanted, ["8080:80/tcp", ":53/udp", ":443/tcp"]);
        let text = serde_json::to_string(&ports).unwrap();
        assert_eq!(serde_json::from_str::<Ports>(&text).unwrap(), ports);
        let range: ExposedRange = "8000-8001/UDP".parse().unwrap();
        let each: Vec<String> = range.all().map(|port| port.to_string()).collect();
        assert_eq!(each, ["8000/udp", "8001/udp"]);
        assert_eq!("80/bogus".parse::<ExposedRange>().unwrap_err(), "invalid proto: bogus");
        for text in ["abc", "0", "99999", "9-8"] {
            let error = text.parse::<ExposedRange>().unwrap_err();
            assert_eq!(error, format!("invalid range format for --expose: {text}"));
        }
    }
}
