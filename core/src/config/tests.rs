use std::net::Ipv4Addr;

use super::*;
use crate::extension::Command;
use crate::golden;

#[track_caller]
fn read(text: &str) -> NetworkConfig {
    NetworkConfig::parse(text.as_bytes()).expect(text)
}

fn subnet(text: &str) -> Subnet {
    text.parse().expect(text)
}

#[test]
fn fills_the_defaults_in() {
    let config = read(r#"{"Network":"10.5.0.0/16"}"#);
    assert_eq!(
        config,
        NetworkConfig {
            network: subnet("10.5.0.0/16"),
            subnet_len: 24,
            subnet_min: subnet("10.5.1.0/24"),
            subnet_max: subnet("10.5.255.0/24"),
            ipv6: None,
            backend: Backend::Udp(Udp { port: 8285, direct_routing: false }),
            nftables: false,
        }
    );
    let vxlan = read(r#"{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}"#);
    assert_eq!(vxlan.backend, Backend::Vxlan(Vxlan::default()));
}

#[test]
fn subnets_follow_from_the_network() {
    let rows = [
        ("a network of many", "10.0.0.0/8", 24, "10.0.1.0/24", "10.255.255.0/24"),
        ("the last with room for /24", "10.5.4.0/22", 24, "10.5.5.0/24", "10.5.7.0/24"),
        ("four subnets in any case", "10.5.2.0/23", 25, "10.5.2.128/25", "10.5.3.128/25"),
        ("the smallest", "10.5.2.16/28", 30, "10.5.2.20/30", "10.5.2.28/30"),
        ("host bits are masked off", "10.5.9.9/16", 24, "10.5.1.0/24", "10.5.255.0/24"),
        ("the end of all addresses", "255.255.0.0/16", 24, "255.255.1.0/24", "255.255.255.0/24"),
    ];
    for (name, network, len, min, max) in rows {
        let config = read(&format!(r#"{{"Network":"{network}"}}"#));
        let found = (config.subnet_len, config.subnet_min, config.subnet_max);
        assert_eq!(found, (len, subnet(min), subnet(max)), "{name}");
    }
}

#[test]
fn subnets_of_ipv6_follow_from_the_network() {
    let rows = [
        ("as flannel's own test has it", "fc00::/48", 64, "fc00:0:0:1::/64", "fc00:0:0:ffff::/64"),
        ("the last with room for /64", "fd00::/62", 64, "fd00:0:0:1::/64", "fd00:0:0:3::/64"),
        (
            "four subnets in any case",
            "fd00::/63",
            65,
            "fd00:0:0:0:8000::/65",
            "fd00:0:0:1:8000::/65",
        ),
        ("the smallest", "fd00::10/124", 126, "fd00::14/126", "fd00::1c/126"),
        ("host bits are masked off", "fd00::9/48", 64, "fd00:0:0:1::/64", "fd00:0:0:ffff::/64"),
    ];
    for (name, network, len, min, max) in rows {
        let config = read(&ipv6(network));
        let found = (config.subnet_len, config.subnet_min, config.subnet_max);
        assert_eq!(found, (len, subnet(min), subnet(max)), "{name}");
        assert_eq!(NetworkConfig::parse(config.to_json().as_bytes()), Ok(config), "{name}");
    }
    let both = read(
        r#"{"Network":"nonsense","IPv6Network":"fd00::/48","IPv6SubnetLen":56,
            "IPv6SubnetMax":"fd00:0:0:300::","EnableIPv4":false,"EnableIPv6":true,
            "Backend":{"Type":"host-gw"}}"#,
    );
    assert_eq!(both.subnet_max, subnet("fd00:0:0:300::/56"), "what is off is not looked at");
    assert!(both.admits(subnet("fd00:0:0:100::/56").into()));
    assert!(!both.admits(subnet("fd00:0:0:1::/64").into()));
}

fn ipv6(network: &str) -> String {
    format!(
        r#"{{"IPv6Network":"{network}","EnableIPv4":false,"EnableIPv6":true,"Backend":{{"Type":"vxlan"}}}}"#
    )
}

#[test]
fn reads_as_go_does() {
    let plain = read(r#"{"Network":"10.5.0.0/16","SubnetLen":25,"Backend":{"Type":"vxlan"}}"#);
    let rows = [
        (
            "names in any case, types too",
            r#"{"nEtWoRk":"10.5.0.0/16","SUBNETLEN":25,"backend":{"type":"VXLAN"}}"#,
        ),
        (
            "letters that fold to ASCII",
            "{\"Networ\u{212a}\":\"10.5.0.0/16\",\"\u{17f}ubnetLen\":25,\"Backend\":{\"Type\":\"vxlan\"}}",
        ),
        (
            "unknown members",
            r#"{"Comment":{"a":[1]},"Network":"10.5.0.0/16","SubnetLen":25,
                "Backend":{"Type":"vxlan","MacPrefix":"0E-2A","Name":"x"}}"#,
        ),
        (
            "the last of several, whatever their case",
            r#"{"Network":"10.9.0.0/16","SubnetLen":26,"network":"10.5.0.0/16","subnetlen":25,
                "Backend":{"Type":"udp"},"Backend":{"Type":"vxlan"}}"#,
        ),
        (
            "null and zero for no wish",
            r#"{"Network":"10.5.0.0/16","SubnetLen":25,"SubnetLen":null,"SubnetMin":"0.0.0.0",
                "EnableIPv4":null,"EnableIPv6":null,
                "Backend":{"Type":"vxlan","VNI":null,"Port":0,"MTU":0,"GBP":null}}"#,
        ),
        (
            "both families and iptables spelled out",
            r#"{"EnableIPv4":true,"EnableIPv6":false,"EnableNFTables":false,
                "Network":"10.5.0.0/16","SubnetLen":25,"Backend":{"Type":"vxlan"}}"#,
        ),
    ];
    for (name, text) in rows {
        assert_eq!(NetworkConfig::parse(text.as_bytes()), Ok(plain.clone()), "{name}");
    }
}

#[test]
fn reads_every_option() {
    let config = read(
        r#"{"Network":"10.5.0.0/16","SubnetLen":26,"SubnetMin":"10.5.0.0","SubnetMax":"10.5.9.192",
            "EnableNFTables":true,
            "Backend":{"Type":"vxlan","VNI":16777215,"Port":4789,"MTU":9000,"GBP":true,
            "Learning":true,"DirectRouting":true}}"#,
    );
    assert_eq!(config.subnet_min, subnet("10.5.0.0/26"), "the first subnet, if it is asked for");
    assert_eq!(config.subnet_max, subnet("10.5.9.192/26"));
    assert!(config.nftables);
    assert_eq!(NetworkConfig::parse(config.to_json().as_bytes()), Ok(config.clone()));
    let Backend::Vxlan(vxlan) = config.backend else { panic!("it says vxlan") };
    assert_eq!(
        (vxlan.vni.number(), vxlan.port, vxlan.mtu),
        (16_777_215, Some(4789), Mtu::new(9000))
    );
    assert!(vxlan.gbp && vxlan.learning && vxlan.direct_routing);
    let plain = read(r#"{"Network":"10.5.0.0/16","Backend":{"Type":"Host-GW","Port":"any"}}"#);
    assert_eq!(plain.backend, Backend::HostGw, "it has no option that could be wrong");
    let udp = read(r#"{"Network":"10.5.0.0/16","Backend":{"Type":"udp","Port":7000}}"#);
    assert_eq!(udp.backend, Backend::Udp(Udp { port: 7000, direct_routing: false }));
}

#[rustfmt::skip]
const REFUSED: [&str; 72] = [
    "not json",
    "[]",
    "null",
    r#"{"Network":"10.88.0.0/16"} trailing"#,
    r#"{"Network":"10.88.0.0/16""#,
    "{}",
    r#"{"Network":"0.0.0.0/0"}"#,
    r#"{"Network":"10.88.0.0/33"}"#,
    r#"{"Network":"10.88.0.0"}"#,
    r#"{"Network":168296448}"#,
    r#"{"Network":null}"#,
    r#"{"Network":"10.88.0.0/29"}"#,
    r#"{"Network":"fd00::/48"}"#,
    r#"{"Network":"10.88.0.0/16","SubnetLen":"24"}"#,
    r#"{"Network":"10.88.0.0/16","SubnetLen":24.5}"#,
    r#"{"Network":"10.88.0.0/16","SubnetLen":-1}"#,
    r#"{"Network":"10.88.0.0/16","SubnetLen":"x","SubnetLen":24}"#,
    r#"{"Network":"10.88.0.0/16","SubnetLen":8}"#,
    r#"{"Network":"10.88.0.0/16","SubnetLen":17}"#,
    r#"{"Network":"10.88.0.0/16","SubnetLen":31}"#,
    r#"{"Network":"10.88.0.0/16","SubnetLen":280}"#,
    r#"{"Network":"10.88.0.0/16","SubnetMin":"10.99.0.0"}"#,
    r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.1.1"}"#,
    r#"{"Network":"10.88.0.0/16","SubnetMin":17}"#,
    r#"{"Network":"10.88.0.0/16","SubnetMax":"10.89.0.0"}"#,
    r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.20.0","SubnetMax":"10.88.10.0"}"#,
    r#"{"Network":"10.88.0.0/16","EnableIPv6":true}"#,
    r#"{"Network":"10.88.0.0/16","EnableIPv4":false}"#,
    r#"{"Network":"10.88.0.0/16","EnableIPv4":false,"EnableIPv6":true}"#,
    r#"{"IPv6Network":"10.88.0.0/16","EnableIPv4":false,"EnableIPv6":true,"Backend":{"Type":"vxlan"}}"#,
    r#"{"IPv6Network":"::/0","EnableIPv4":false,"EnableIPv6":true,"Backend":{"Type":"vxlan"}}"#,
    r#"{"IPv6Network":"fd00::/125","EnableIPv4":false,"EnableIPv6":true,"Backend":{"Type":"vxlan"}}"#,
    r#"{"IPv6Network":"fd00::/48","IPv6SubnetLen":49,"EnableIPv4":false,"EnableIPv6":true,"Backend":{"Type":"vxlan"}}"#,
    r#"{"IPv6Network":"fd00::/48","IPv6SubnetLen":300,"EnableIPv4":false,"EnableIPv6":true,"Backend":{"Type":"vxlan"}}"#,
    r#"{"IPv6Network":"fd00::/48","IPv6SubnetMin":"10.88.0.0","EnableIPv4":false,"EnableIPv6":true,"Backend":{"Type":"vxlan"}}"#,
    r#"{"IPv6Network":"fd00::/48","IPv6SubnetMin":"fd00::1","EnableIPv4":false,"EnableIPv6":true,"Backend":{"Type":"vxlan"}}"#,
    r#"{"IPv6Network":"fd00::/48","IPv6SubnetMin":"fd00:0:0:9::","IPv6SubnetMax":"fd00:0:0:3::","EnableIPv4":false,"EnableIPv6":true,"Backend":{"Type":"vxlan"}}"#,
    r#"{"IPv6Network":"fd00::/48","EnableIPv4":false,"EnableIPv6":true,"Backend":{"Type":"extension"}}"#,
    r#"{"Network":"10.88.0.0/16","EnableIPv4":"yes"}"#,
    r#"{"Network":"10.88.0.0/16","EnableNFTables":1}"#,
    r#"{"Network":"10.88.0.0/16","Backend":{}}"#,
    r#"{"Network":"10.88.0.0/16","Backend":null}"#,
    r#"{"Network":"10.88.0.0/16","Backend":{"Type":""}}"#,
    r#"{"Network":"10.88.0.0/16","Backend":{"Type":7}}"#,
    r#"{"Network":"10.88.0.0/16","Backend":"vxlan"}"#,
    r#"{"Network":"10.88.0.0/16","Backend":{"Type":"nosuch"}}"#,
    r#"{"Network":"10.88.0.0/16","Backend":{"Type":"wireguard","ListenPort":0}}"#,
    r#"{"Network":"10.88.0.0/16","Backend":{"Type":"wireguard","ListenPortV6":65536}}"#,
    r#"{"Network":"10.88.0.0/16","Backend":{"Type":"wireguard","MTU":10}}"#,
    r#"{"Network":"10.88.0.0/16","Backend":{"Type":"wireguard","PSK":"this is a secret and no key"}}"#,
    r#"{"Network":"10.88.0.0/16","Backend":{"Type":"wireguard","PSK":7}}"#,
    r#"{"Network":"10.88.0.0/16","Backend":{"Type":"wireguard","PersistentKeepaliveInterval":65536}}"#,
    r#"{"Network":"10.88.0.0/16","Backend":{"Type":"wireguard","PersistentKeepaliveInterval":"25s"}}"#,
    r#"{"Network":"10.88.0.0/16","Backend":{"Type":"wireguard","Mode":"Separate"}}"#,
    r#"{"Network":"10.88.0.0/16","Backend":{"Type":"wireguard","Mode":"ipv6"}}"#,
    r#"{"Network":"10.88.0.0/16","Backend":{"Type":"wireguard","Mode":7}}"#,
    r#"{"Network":"10.88.0.0/16","IPv6Network":"fd00::/48","EnableIPv6":true,"Backend":{"Type":"wireguard","Mode":"auto"}}"#,
    r#"{"Network":"10.88.0.0/16","IPv6Network":"fd00::/48","EnableIPv6":true,"Backend":{"Type":"wireguard","ListenPort":51821}}"#,
    r#"{"Network":"10.88.0.0/16","Backend":{"Type":"ipip"}}"#,
    r#"{"Network":"10.88.0.0/16","Backend":{"Type":"ipsec"}}"#,
    r#"{"Network":"10.88.0.0/16","Backend":{"Type":"extension","SubnetAddCommand":7}}"#,
    r#"{"Network":"10.88.0.0/16","Backend":{"Type":"extension","SubnetAddCommand":["ip",7]}}"#,
    r#"{"Network":"10.88.0.0/16","Backend":{"Type":"extension","ShutdownCommand":[""]}}"#,
    r#"{"Network":"10.88.0.0/16","Backend":{"Type":"tencent-vpc"}}"#,
    r#"{"Network":"10.88.0.0/16","Backend":{"Type":"vxlan","VNI":"x"}}"#,
    r#"{"Network":"10.88.0.0/16","Backend":{"Type":"vxlan","VNI":0}}"#,
    r#"{"Network":"10.88.0.0/16","Backend":{"Type":"vxlan","VNI":16777216}}"#,
    r#"{"Network":"10.88.0.0/16","Backend":{"Type":"vxlan","Port":65536}}"#,
    r#"{"Network":"10.88.0.0/16","Backend":{"Type":"vxlan","MTU":10}}"#,
    r#"{"Network":"10.88.0.0/16","Backend":{"Type":"vxlan","GBP":"true"}}"#,
    r#"{"Network":"10.88.0.0/16","Backend":{"Type":"udp","Port":0}}"#,
    r#"{"Network":"10.88.0.0/16","Backend":{"Type":"udp","Port":"8285"}}"#,
];

/// Each entry of the golden is a configuration, the error, and its way out.
#[test]
fn refuses_in_words_for_people() {
    let told = |text: &str| {
        let error = NetworkConfig::parse(text.as_bytes()).expect_err(text);
        [text.to_owned(), format!("    {error}"), format!("    hint: {}", error.hint())].join("\n")
    };
    golden::check("config-errors.txt", &(REFUSED.map(told).join("\n") + "\n"));
}

#[test]
fn refuses_what_is_not_utf8() {
    let error = NetworkConfig::parse(b"{\"Network\":\"\xff\"}").expect_err("no text at all");
    assert!(matches!(error, Error::NotAnObject { .. }), "{error}");
}

fn keyed() -> Backend {
    Backend::Wireguard(Wireguard {
        port: 7000,
        port_v6: 7001,
        mtu: Mtu::new(1400),
        psk: "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=".parse().ok(),
        keepalive: 25,
    })
}

/// In a network of IPv4 they come to the same.
#[test]
fn modes_of_one_tunnel_for_ipv4_are_separate() {
    for mode in ["separate", "ipv4", "auto", ""] {
        let text = format!(
            r#"{{"Network":"10.88.0.0/16","Backend":{{"Type":"WireGuard","Mode":"{mode}"}}}}"#
        );
        let config = NetworkConfig::parse(text.as_bytes()).expect(mode);
        assert_eq!(config.backend, Backend::Wireguard(Wireguard::default()), "{mode}");
    }
}

#[test]
fn what_is_written_reads_back() {
    let vxlan = Backend::Vxlan(Vxlan {
        vni: Vni::new(7).expect("in range"),
        port: Some(4789),
        mtu: Mtu::new(1400),
        gbp: true,
        learning: false,
        direct_routing: true,
    });
    let network = subnet("10.88.0.0/16");
    let words = ["sh", "-c", "echo $SUBNET"].map(str::to_owned);
    let extension = Backend::Extension(Box::new(Extension {
        pre_startup: Some(Command::Line("echo hello".to_owned())),
        subnet_add: Some(Command::Words(words.to_vec())),
        ..Extension::default()
    }));
    let rows = [
        ("config-udp.json", Draft::new(network)),
        (
            "config-udp-direct.json",
            Draft {
                backend: Backend::Udp(Udp { port: 7000, direct_routing: true }),
                ..Draft::new(network)
            },
        ),
        ("config-wireguard.json", Draft { backend: keyed(), ..Draft::new(network) }),
        ("config-alloc.json", Draft { backend: Backend::Alloc, ..Draft::new(network) }),
        ("config-extension.json", Draft { backend: extension, ..Draft::new(network) }),
        ("config-host-gw.json", Draft { backend: Backend::HostGw, ..Draft::new(network) }),
        (
            "config-vxlan.json",
            Draft { backend: Backend::Vxlan(Vxlan::default()), ..Draft::new(network) },
        ),
        (
            "config-vxlan-options.json",
            Draft {
                backend: vxlan,
                range: DraftRange { subnet_len: Some(20), ..DraftRange::new(network) },
                ..Draft::new(network)
            },
        ),
    ];
    let vxlan = Backend::Vxlan(Vxlan::default());
    let ipv6 = Draft { backend: vxlan, ..Draft::new(subnet("fd00:88::/48")) };
    for (name, draft) in rows.into_iter().chain([("config-ipv6.json", ipv6)]) {
        let config = draft.build().expect(name);
        let text = config.to_json();
        golden::check(name, &(text.clone() + "\n"));
        assert_eq!(NetworkConfig::parse(text.as_bytes()), Ok(config), "{name}");
    }
}

#[test]
fn both_families_are_written_and_read_back() {
    let draft = Draft {
        ipv6: Some(DraftRange::new(subnet("fd00:88::/48"))),
        backend: Backend::Vxlan(Vxlan::default()),
        ..Draft::new(subnet("10.5.0.0/16"))
    };
    let config = draft.build().expect("both carry it");
    let text = config.to_json();
    golden::check("config-dual.json", &(text.clone() + "\n"));
    assert_eq!(NetworkConfig::parse(text.as_bytes()).as_ref(), Ok(&config));
    let rows = [
        ("a pair", "10.5.7.0-24&fd00:88:0:7::-64", true),
        ("of two numbers", "10.5.7.0-24&fd00:88:0:9::-64", true),
        ("one alone", "10.5.7.0-24", false),
        ("the other alone", "0.0.0.0-0&fd00:88:0:7::-64", false),
        ("another IPv6", "10.5.7.0-24&fd00:99:0:7::-64", false),
        ("another length", "10.5.7.0-24&fd00:88:0:7::-72", false),
    ];
    for (name, key, admitted) in rows {
        assert_eq!(config.admits(key.parse().expect(key)), admitted, "{name}");
    }
    let with = |block| config.key_with(subnet(block)).map(|key| key.to_string());
    assert_eq!(with("10.5.255.0/24").as_deref(), Some("10.5.255.0-24&fd00:88:0:ff::-64"));
    assert_eq!(with("fd00:88:0:2::/64").as_deref(), Some("10.5.2.0-24&fd00:88:0:2::-64"));
    assert_eq!(with("fd00:88:0:100::/64"), None, "IPv4 has no such number");
    let halves = [Family::V4, Family::V6].map(|family| config.half(family).expect("both"));
    assert_eq!(halves.map(|half| half.words()), ["10.5.0.0/16", "fd00:88::/48"]);
}

#[test]
fn admits_what_a_host_may_own() {
    let config = read(r#"{"Network":"10.5.0.0/16","SubnetMax":"10.5.9.0"}"#);
    let rows = [
        ("the first is skipped", "10.5.0.0/24", false),
        ("the lowest", "10.5.1.0/24", true),
        ("the highest", "10.5.9.0/24", true),
        ("above it", "10.5.10.0/24", false),
        ("another length", "10.5.2.0/25", false),
        ("another network", "10.6.2.0/24", false),
    ];
    for (name, text, admitted) in rows {
        assert_eq!(config.admits(subnet(text).into()), admitted, "{name}");
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        drop(NetworkConfig::parse(&bytes));
    }

    #[test]
    fn no_members_make_it_panic(
        network in "\\PC{0,4}|[0-9.]{1,15}/[0-9]{1,3}",
        len: i64,
        min in "\\PC{0,4}|[0-9.]{7,15}",
        kind in "udp|vxlan|host-gw|alloc|extension|\\PC{0,6}",
        option: u64,
    ) {
        let text = serde_json::json!({
            "Network": network, "SubnetLen": len, "SubnetMin": min,
            "Backend": {"Type": kind, "VNI": option, "Port": option, "MTU": option},
        });
        drop(NetworkConfig::parse(text.to_string().as_bytes()));
    }

    #[test]
    fn whatever_keeps_the_rules_reads_back(
        base: u32, len in 1_u8..=28, more in 2_u8..=29, skip: u16, vni in 1_u32..1 << 24,
    ) {
        let first = Ipv4Addr::from(base & u32::MAX << (32 - len));
        let network = Subnet::new(first.into(), len).expect("aligned");
        let subnet_len = (len + more).min(30);
        let room = 1_u64 << (subnet_len - len);
        let offset = u32::try_from(u64::from(skip) % room).expect("small") << (32 - subnet_len);
        let draft = Draft {
            range: DraftRange {
                subnet_len: Some(subnet_len),
                subnet_min: Some(Ipv4Addr::from(first.to_bits() + offset).into()),
                ..DraftRange::new(network)
            },
            backend: Backend::Vxlan(Vxlan { vni: Vni::new(vni).expect("in range"), ..Vxlan::default() }),
            ..Draft::new(network)
        };
        // The unspecified address as a bound stands for the default, so it cannot be written.
        if let Ok(config) = draft.build()
            && !config.subnet_min.base().is_unspecified()
        {
            proptest::prop_assert_eq!(NetworkConfig::parse(config.to_json().as_bytes()), Ok(config));
        }
    }
}
