//! `twillctl network`: the configuration that every host reads when it joins.

mod edit;
mod render;
mod set;

use std::time::Duration;

use serde_json::Value;
use twill_core::config::{self, Draft, DraftRange, NetworkConfig, Range, Udp, Vxlan, Wireguard};
use twill_core::ids::Family;
use twill_store::{ConfigText, Expected, Store, Written};

use crate::args::{Backend, Init, Network, Output};
use crate::ask::ask;
use crate::failure::{Failure, Kind};
use crate::leases::no_network;
use crate::report::Report;
use crate::run::{store_failure, within};
use crate::table;
use set::Order;

/// The members that flanneld or twilld look at, in any case.
const MEMBERS: [&str; 12] = [
    "EnableIPv4",
    "EnableIPv6",
    "EnableNFTables",
    "Network",
    "SubnetLen",
    "SubnetMin",
    "SubnetMax",
    "IPv6Network",
    "IPv6SubnetLen",
    "IPv6SubnetMin",
    "IPv6SubnetMax",
    "Backend",
];

/// What to do, every option checked.
#[derive(Debug)]
pub(crate) enum Work {
    /// Write this one.
    Init { config: NetworkConfig, force: bool },
    /// Read what is there.
    Show,
    /// Change what is there.
    Set(Order),
}

impl Work {
    /// Checks the options.
    pub(crate) fn of(command: Network) -> Result<Self, Failure> {
        match command {
            Network::Init(init) => Ok(Self::Init { config: requested(&init)?, force: init.force }),
            Network::Show => Ok(Self::Show),
            Network::Set(args) => Order::of(args).map(Self::Set),
        }
    }
}

/// Does it.
pub(crate) async fn run<S: Store>(
    store: &S,
    work: &Work,
    output: Output,
    timeout: Duration,
) -> Result<Report, Failure> {
    match work {
        // A person may think longer than etcd may.
        Work::Set(order) => set::set(store, order, output, ask).await,
        Work::Show => within(timeout, "etcd", show(store, output)).await,
        Work::Init { config, force } => {
            let notes = within(timeout, "etcd", init(store, config, *force)).await?;
            Ok(Report { data: render(config, output), notes, code: 0 })
        }
    }
}

async fn show<S: Store>(store: &S, output: Output) -> Result<Report, Failure> {
    let found = store.config().await.map_err(|error| store_failure(&error))?;
    let ConfigText { text, .. } = found.ok_or_else(no_network)?;
    let config = NetworkConfig::parse(&text)
        .map_err(|error| Failure::from_error(Kind::Failed, &error).hint(error.hint()))?;
    Ok(Report { data: render(&config, output), notes: warnings(&text), code: 0 })
}

/// Nothing is overwritten unless asked for: two that initialise at the same moment do not both
/// believe that theirs holds.
async fn init<S: Store>(
    store: &S,
    config: &NetworkConfig,
    force: bool,
) -> Result<Vec<String>, Failure> {
    let before = store.config().await.map_err(|error| store_failure(&error))?;
    let expected = match &before {
        Some(before) if NetworkConfig::parse(&before.text).as_ref() == Ok(config) => {
            return Ok(vec!["the network is configured so already".to_owned()]);
        }
        Some(before) if !force => return Err(configured(before)),
        Some(before) => Expected::At(before.revision),
        None => Expected::Nothing,
    };
    let written = store.write_config(&config.to_json(), expected).await;
    match written.map_err(|error| store_failure(&error))? {
        Written::Done(_revision) => Ok(before.map_or_else(Vec::new, |before| {
            vec![
                format!("this was replaced: {}", quoted(&before.text)),
                "hosts that run twilld apply the new one as they see it".to_owned(),
            ]
        })),
        Written::Changed => {
            let message = "somebody else configured the network at this moment";
            Err(Failure::new(Kind::Failed, message).hint("see what: twillctl network show"))
        }
    }
}

fn configured(before: &ConfigText) -> Failure {
    let message = format!("a network is configured already: {}", quoted(&before.text));
    Failure::new(Kind::Failed, message)
        .hint("keep it, change it with `twillctl network set`, or replace it with --force")
}

/// What stands in etcd, on one line, whatever it is.
fn quoted(text: &[u8]) -> String {
    const LONGEST: usize = 500;
    let text = without_secret(text).unwrap_or_else(|| String::from_utf8_lossy(text).into_owned());
    let line: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect();
    line.trim().to_owned()
}

/// The same without the value of a `PSK`; `None` if there is none.
fn without_secret(text: &[u8]) -> Option<String> {
    let mut members: Value = serde_json::from_slice(text).ok()?;
    let is = |name: &str, known: &str| name.eq_ignore_ascii_case(known);
    let backends = members.as_object_mut()?.iter_mut().filter(|(name, _)| is(name, "Backend"));
    let options = backends.filter_map(|(_name, backend)| backend.as_object_mut()).flatten();
    let secrets: Vec<_> = options.filter(|(name, _)| is(name, "PSK")).collect();
    if secrets.is_empty() {
        return None;
    }
    for (_name, secret) in secrets {
        *secret = "(not shown)".into();
    }
    Some(members.to_string())
}

fn render(config: &NetworkConfig, output: Output) -> String {
    match output {
        Output::Table => describe(config),
        Output::Json => config.to_json() + "\n",
    }
}

/// The configuration that the options ask for.
fn requested(init: &Init) -> Result<NetworkConfig, Failure> {
    let backend = match init.backend {
        Backend::Udp => udp(init)?,
        Backend::Vxlan => vxlan(init),
        Backend::Wireguard => wireguard(init)?,
        Backend::HostGw => host_gw(init)?,
    };
    let draft = Draft {
        range: DraftRange {
            network: init.network,
            subnet_len: init.subnet_len,
            subnet_min: init.subnet_min,
            subnet_max: init.subnet_max,
        },
        ipv6: beside(init)?,
        backend,
        nftables: false,
    };
    draft.build().map_err(|error| Failure::from_error(Kind::Usage, &error).hint(error.hint()))
}

/// The addresses of IPv6 beside those of IPv4.
fn beside(init: &Init) -> Result<Option<DraftRange>, Failure> {
    let Some(network) = init.ipv6_network else { return Ok(None) };
    let families = (init.network.family(), network.family());
    if families != (Family::V4, Family::V6) {
        let message = "--ipv6-network is for addresses of IPv6 beside --network with those of IPv4";
        let hint = "for IPv6 alone give its addresses to --network";
        return Err(Failure::new(Kind::Usage, message).hint(hint));
    }
    Ok(Some(DraftRange { subnet_len: init.ipv6_subnet_len, ..DraftRange::new(network) }))
}

fn udp(init: &Init) -> Result<config::Backend, Failure> {
    let given = [("--vni", init.vni.is_some()), ("--mtu", init.mtu.is_some())];
    if let Some((option, _given)) = given.into_iter().find(|(_option, given)| *given) {
        let message = format!("{option} is an option of the vxlan backend, and the backend is udp");
        return Err(Failure::new(Kind::Usage, message).hint("add --backend vxlan"));
    }
    let default = Udp::default();
    Ok(config::Backend::Udp(Udp { port: init.port.unwrap_or(default.port), ..default }))
}

fn host_gw(init: &Init) -> Result<config::Backend, Failure> {
    let given = [
        ("--port", init.port.is_some()),
        ("--vni", init.vni.is_some()),
        ("--mtu", init.mtu.is_some()),
    ];
    if let Some((option, _given)) = given.into_iter().find(|(_option, given)| *given) {
        let message = format!("{option} is an option of a tunnel, and the backend is host-gw");
        return Err(
            Failure::new(Kind::Usage, message).hint("leave it out, or choose --backend vxlan")
        );
    }
    Ok(config::Backend::HostGw)
}

fn vxlan(init: &Init) -> config::Backend {
    let default = Vxlan::default();
    let vni = init.vni.unwrap_or(default.vni);
    config::Backend::Vxlan(Vxlan { vni, port: init.port, mtu: init.mtu, ..default })
}

fn wireguard(init: &Init) -> Result<config::Backend, Failure> {
    if init.vni.is_some() {
        let message = "--vni is an option of the vxlan backend, and the backend is wireguard";
        return Err(Failure::new(Kind::Usage, message).hint("leave it out"));
    }
    let default = Wireguard::default();
    let port = init.port.unwrap_or(default.port);
    Ok(config::Backend::Wireguard(Wireguard { port, mtu: init.mtu, ..default }))
}

/// What the network is, for people.
fn describe(config: &NetworkConfig) -> String {
    let NetworkConfig { backend, nftables, .. } = config;
    let mut rows = Vec::new();
    for Range { network, subnet_min, subnet_max, .. } in config.ranges() {
        let hosts = subnet_min.count_to(subnet_max);
        rows.push(("Network", network.to_string()));
        rows.push(("Subnets", format!("{subnet_min} to {subnet_max}, room for {hosts} hosts")));
    }
    rows.push(("Backend", backend.name().to_owned()));
    match backend {
        config::Backend::HostGw | config::Backend::Alloc => {}
        config::Backend::Extension(extension) => {
            let given = extension.commands().into_iter();
            let given = given.filter_map(|(name, command)| Some((name, command?)));
            rows.extend(given.map(|(name, command)| (name, command.to_json().to_string())));
        }
        config::Backend::Udp(udp) => rows.push(("Port", udp.port.to_string())),
        config::Backend::Wireguard(options) => rows.extend(keyed(options, config)),
        config::Backend::Vxlan(vxlan) => {
            rows.push(("VNI", vxlan.vni.to_string()));
            let port =
                vxlan.port.map_or("8472 (the kernel's own)".to_owned(), |port| port.to_string());
            rows.push(("Port", port));
            let mtu =
                vxlan.mtu.map_or("that of each host's interface".to_owned(), |mtu| mtu.to_string());
            rows.push(("Outer MTU", mtu));
            let flags = [
                ("GBP", vxlan.gbp),
                ("Learning", vxlan.learning),
                ("DirectRouting", vxlan.direct_routing),
            ];
            rows.extend(
                flags
                    .into_iter()
                    .filter(|(_name, on)| *on)
                    .map(|(name, _on)| (name, "on".to_owned())),
            );
        }
    }
    if *nftables {
        rows.push(("Firewall", "nftables".to_owned()));
    }
    table::pairs(rows)
}

/// The options of `wireguard`; whether there is a second secret, and not which.
fn keyed(options: &Wireguard, config: &NetworkConfig) -> Vec<(&'static str, String)> {
    let ports: Vec<String> =
        config.networks().map(|it| options.port_of(it.family()).to_string()).collect();
    let outer = options.mtu.map(|mtu| mtu.to_string());
    let outer = outer.unwrap_or_else(|| "that of each host's interface".to_owned());
    let mut rows = vec![("Port", ports.join(", ")), ("Outer MTU", outer)];
    rows.extend(options.psk.map(|_secret| ("PSK", "one (not shown)".to_owned())));
    let seconds = Some(options.keepalive).filter(|seconds| *seconds != 0);
    rows.extend(seconds.map(|seconds| ("Keepalive", format!("{seconds} s"))));
    rows
}

/// What a mixed cluster should know about the text of a configuration that reads well.
fn warnings(text: &[u8]) -> Vec<String> {
    let Ok(Value::Object(members)) = serde_json::from_slice(text) else { return Vec::new() };
    let is = |name: &str, known: &str| name.eq_ignore_ascii_case(known);
    let unknown =
        members.keys().filter(|name| !MEMBERS.iter().any(|known| is(name, known))).map(|name| {
            format!("warning: `{name}` in the configuration means nothing to twilld or flanneld")
        });
    unknown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    #[test]
    fn options_become_a_configuration() {
        let config = requested(&init("10.88.0.0/16")).unwrap();
        assert_eq!(config.backend, config::Backend::Udp(Udp { port: 8285, direct_routing: false }));
        assert_eq!(config.subnet_len, 24);

        let init = Init { backend: Backend::Vxlan, port: Some(4789), ..init("10.88.0.0/16") };
        let config::Backend::Vxlan(vxlan) = requested(&init).unwrap().backend else { panic!() };
        assert_eq!((vxlan.vni.number(), vxlan.port, vxlan.mtu), (1, Some(4789), None));
    }

    #[test]
    fn what_makes_no_sense_is_refused_before_anything_is_written() {
        let base = || init("10.88.0.0/16");
        let rows = [
            ("vxlan's option with udp", Init { vni: Some(Vxlan::default().vni), ..base() }),
            (
                "a tunnel's option without one",
                Init { backend: Backend::HostGw, port: Some(4789), ..base() },
            ),
            ("no room for a host", Init { subnet_len: Some(31), ..base() }),
            ("a subnet wider than the network", Init { subnet_len: Some(16), ..base() }),
            ("a network too small", init("10.88.0.0/30")),
            ("a limit outside", Init { subnet_max: Some([10, 89, 0, 0].into()), ..base() }),
            ("IPv6 twice", Init { ipv6_network: "fd00::/48".parse().ok(), ..init("fd00:88::/48") }),
            ("IPv4 twice", Init { ipv6_network: "10.89.0.0/16".parse().ok(), ..base() }),
            ("a limit between subnets", Init { subnet_min: Some([10, 88, 0, 9].into()), ..base() }),
        ];
        for (name, init) in rows {
            let failure = requested(&init).expect_err(name);
            assert_eq!(failure.exit_code(), 2, "{name}");
            assert!(failure.to_string().contains("\nhint: "), "{name}: {failure}");
        }
    }

    #[test]
    fn a_psk_is_not_shown() {
        let secret = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
        let text = format!(
            r#"{{"Network":"10.88.0.0/16","backend":{{"Type":"wireguard","psk":"{secret}","PersistentKeepaliveInterval":25}}}}"#
        );
        let quoted = quoted(text.as_bytes());
        assert!(quoted.contains(r#""psk":"(not shown)""#) && !quoted.contains(secret), "{quoted}");
        let config = NetworkConfig::parse(text.as_bytes()).unwrap();
        golden::check("network-wireguard.txt", &describe(&config));
        assert_eq!(super::quoted(b"{ \"x\": 1 }"), "{ \"x\": 1 }", "what has none stays as it is");
    }

    #[test]
    fn a_configuration_reads_as_a_table() {
        let udp = requested(&init("10.88.0.0/16")).unwrap();
        golden::check("network-udp.txt", &describe(&udp));
        let vxlan = br#"{"Network":"10.5.0.0/20","Backend":{"Type":"vxlan","VNI":7,"MTU":9000,"GBP":true}}"#;
        golden::check("network-vxlan.txt", &describe(&NetworkConfig::parse(vxlan).unwrap()));
        let ipv6_network = "fd00:88::/48".parse().ok();
        let both = Init { ipv6_network, backend: Backend::HostGw, ..init("10.88.0.0/16") };
        golden::check("network-dual.txt", &describe(&requested(&both).unwrap()));
    }

    #[test]
    fn a_mixed_cluster_is_warned() {
        assert_eq!(warnings(br#"{"network":"10.5.0.0/16","backend":{"type":"udp"}}"#), [""; 0]);
        let text = br#"{"Network":"10.5.0.0/16","Subnetlen ":24,"enableNFTables":true}"#;
        let [unknown] = &warnings(text)[..] else { panic!("one warning") };
        assert!(unknown.contains("`Subnetlen `"));
    }

    fn init(network: &str) -> Init {
        Init {
            network: network.parse().unwrap(),
            backend: Backend::Udp,
            subnet_len: None,
            subnet_min: None,
            subnet_max: None,
            ipv6_network: None,
            ipv6_subnet_len: None,
            port: None,
            vni: None,
            mtu: None,
            force: false,
        }
    }
}
