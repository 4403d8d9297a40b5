//! What the kernel was built with, beside what this host needs of it.

use std::collections::BTreeSet;

use super::Finding;
use crate::config::Backend;
use crate::firewall::choose::{Engine, Variant};

const CHECK: &str = "kernel";

/// A kernel, as far as a host tells about it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Build {
    /// What `uname -r` prints.
    pub release: String,
    /// How it was built: `/proc/config.gz`, unpacked, or `/boot/config-RELEASE`; `None` if it has neither.
    pub config: Option<String>,
    /// The modules that are loaded, and the built-in ones that have a directory of their own in
    /// `/sys/module`.
    pub modules: BTreeSet<String>,
    /// `/lib/modules/RELEASE` is not there, so that no more modules can be loaded.
    pub sealed: bool,
}

/// A part of the kernel: its symbol in the configuration and the module that it is without it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Part {
    symbol: &'static str,
    module: &'static str,
}

const fn part(symbol: &'static str, module: &'static str) -> Part {
    Part { symbol, module }
}

/// Of every host with containers.
const CONTAINERS: [Part; 2] = [part("VETH", "veth"), part("BRIDGE", "bridge")];

/// What keeps a container to its own addresses.
const SOURCES: [Part; 2] = [part("NET_CLS_BPF", "cls_bpf"), part("NET_SCH_INGRESS", "sch_ingress")];

const NFTABLES: [Part; 4] = [
    part("NF_TABLES", "nf_tables"),
    part("NF_TABLES_INET", "nf_tables"),
    part("NFT_CT", "nft_ct"),
    part("NFT_MASQ", "nft_masq"),
];

/// The table of peers, which is nftables' whatever the engine is.
const PEERS: [Part; 2] = [part("NF_TABLES", "nf_tables"), part("NF_TABLES_IPV4", "nf_tables")];

/// What both kinds of iptables match with.
const MATCHES: [Part; 4] = [
    part("NETFILTER_XT_MATCH_COMMENT", "xt_comment"),
    part("NETFILTER_XT_MATCH_CONNTRACK", "xt_conntrack"),
    part("NETFILTER_XT_TARGET_MASQUERADE", "xt_MASQUERADE"),
    part("NETFILTER_XT_TARGET_TCPMSS", "xt_TCPMSS"),
];

const ON_NFTABLES: [Part; 2] = [part("NF_TABLES", "nf_tables"), part("NFT_COMPAT", "nft_compat")];

const LEGACY: [Part; 2] = [part("IP_NF_IPTABLES", "ip_tables"), part("IP_NF_NAT", "iptable_nat")];

/// Has the kernel what these backends and this engine need? One finding for each part that it lacks.
pub fn features(build: &Build, backends: &[&Backend], engine: Option<Engine>) -> Vec<Finding> {
    let Some(config) = &build.config else {
        let what = format!(
            "{} does not tell how it was built: neither /proc/config.gz nor /boot/config-{} is there",
            build.release, build.release
        );
        return vec![Finding::ok(CHECK, what)];
    };
    let mut seen = Vec::new();
    let mut findings = Vec::new();
    for (part, user) in needs(backends, engine) {
        if !seen.contains(&part.symbol) {
            seen.push(part.symbol);
            findings.extend(lack(build, config, part, &user));
        }
    }
    if findings.is_empty() {
        let what = format!("{} has what backend and firewall need", build.release);
        findings.push(Finding::ok(CHECK, what));
    }
    findings
}

/// With who needs it.
fn needs(backends: &[&Backend], engine: Option<Engine>) -> Vec<(Part, String)> {
    let mut needs: Vec<(Part, String)> = Vec::new();
    let mut of = |parts: &[Part], user: &str| {
        needs.extend(parts.iter().map(|part| (*part, user.to_owned())));
    };
    for backend in backends {
        match backend {
            Backend::Udp(_) => of(&[part("TUN", "tun")], "the backend udp"),
            Backend::Vxlan(_) => {
                of(&[part("VXLAN", "vxlan")], "the backend vxlan");
                of(&PEERS, "the table of peers");
            }
            Backend::Wireguard(_) => {
                of(&[part("WIREGUARD", "wireguard")], "the backend wireguard");
                of(&PEERS, "the table of peers");
            }
            Backend::HostGw | Backend::Alloc | Backend::Extension(_) => {}
        }
    }
    match engine {
        Some(Engine::Nftables) => of(&NFTABLES, "the firewall nftables"),
        Some(engine @ Engine::Iptables(variant)) => {
            let user = format!("the firewall {engine}");
            of(&MATCHES, &user);
            of(if variant == Variant::NfTables { &ON_NFTABLES } else { &LEGACY }, &user);
        }
        Some(Engine::None) | None => {}
    }
    of(&CONTAINERS, "the network of containers");
    of(&SOURCES, "the check of the addresses that containers send from");
    needs
}

fn lack(build: &Build, config: &str, part: Part, user: &str) -> Option<Finding> {
    let Part { symbol, module } = part;
    let release = &build.release;
    let value = config
        .lines()
        .find_map(|line| line.strip_prefix("CONFIG_")?.strip_prefix(symbol)?.strip_prefix('='));
    match value {
        Some("m") if build.sealed && !build.modules.contains(module) => Some(Finding::fail(
            CHECK,
            format!(
                "{user} needs the module {module}, which is not loaded, and /lib/modules/{release} is gone"
            ),
            "restart the host: after an upgrade of the kernel the old one finds its modules no more",
        )),
        Some(_there) => None,
        None => Some(Finding::fail(
            CHECK,
            format!("{release} was built without CONFIG_{symbol}, which {user} needs"),
            "boot a kernel that has it, such as the distribution's own (Debian: linux-image-amd64), or \
             choose another backend or another --firewall",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::config::NetworkConfig;
    use crate::doctor::Verdict;

    /// All that anybody needs, built in, but for what is named with another value.
    fn build(other: &[(&str, &str)]) -> Build {
        let parts: [&[Part]; 7] =
            [&CONTAINERS, &SOURCES, &NFTABLES, &PEERS, &MATCHES, &ON_NFTABLES, &LEGACY];
        let alone = [part("TUN", "tun"), part("VXLAN", "vxlan")];
        let mut config = String::from("# CONFIG_WIREGUARD is not set\n");
        for part in parts.into_iter().flatten().chain(&alone) {
            let value = other.iter().find(|(symbol, _)| *symbol == part.symbol);
            match value.map_or("y", |(_, value)| value) {
                "n" => writeln!(config, "# CONFIG_{} is not set", part.symbol).unwrap(),
                value => writeln!(config, "CONFIG_{}={value}", part.symbol).unwrap(),
            }
        }
        Build { release: "6.1".to_owned(), config: Some(config), ..Build::default() }
    }

    fn vxlan() -> Backend {
        backend("vxlan")
    }

    fn udp() -> Backend {
        backend("udp")
    }

    fn backend(name: &str) -> Backend {
        let text = format!(r#"{{"Network":"10.88.0.0/16","Backend":{{"Type":"{name}"}}}}"#);
        NetworkConfig::parse(text.as_bytes()).unwrap().backend
    }

    #[test]
    fn what_a_kernel_lacks() {
        let legacy = Some(Engine::Iptables(Variant::Legacy));
        let (nftables, none) = (Some(Engine::Nftables), Some(Engine::None));
        for (name, build, backend, engine, want) in [
            ("has it all", build(&[]), vxlan(), nftables, "6.1 has what"),
            ("modules that can be loaded", build(&[("VXLAN", "m")]), vxlan(), nftables, "6.1 has"),
            (
                "no vxlan",
                build(&[("VXLAN", "n")]),
                vxlan(),
                none,
                "without CONFIG_VXLAN, which the",
            ),
            ("no vxlan, not needed", build(&[("VXLAN", "n")]), udp(), none, "6.1 has what"),
            ("no TUN", build(&[("TUN", "n")]), udp(), none, "CONFIG_TUN, which the backend udp"),
            (
                "one name begins another",
                build(&[("NF_TABLES", "n")]),
                udp(),
                nftables,
                "NF_TABLES,",
            ),
            (
                "no old iptables",
                build(&[("IP_NF_NAT", "n")]),
                udp(),
                legacy,
                "the firewall iptables",
            ),
            (
                "no filter of what containers send",
                build(&[("NET_CLS_BPF", "n")]),
                udp(),
                none,
                "CONFIG_NET_CLS_BPF, which the check of the addresses",
            ),
            ("it does not tell", Build::default(), udp(), legacy, "does not tell how it was built"),
        ] {
            let found = features(&build, &[&backend], engine);
            assert_eq!(found.len(), 1, "{name}: {found:?}");
            assert!(found[0].what.contains(want), "{name}: {found:?}");
            let bad =
                want.contains("CONFIG") || want.contains("firewall") || want.contains("TABLES");
            assert_eq!(found[0].verdict == Verdict::Fail, bad, "{name}: {found:?}");
        }
    }

    #[test]
    fn modules_of_a_kernel_that_was_upgraded_under_way() {
        let sealed = Build { sealed: true, ..build(&[("TUN", "m")]) };
        let found = features(&sealed, &[&udp()], None);
        assert!(found[0].what.contains("/lib/modules/6.1 is gone"), "{found:?}");
        let loaded = Build { modules: BTreeSet::from(["tun".to_owned()]), ..sealed };
        assert_eq!(features(&loaded, &[&udp()], None)[0].verdict, Verdict::Ok);
    }
}
