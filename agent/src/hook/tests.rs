//! What is run, and for what.

use std::fs;

use twill_core::ids::Mtu;

use super::*;

#[test]
fn the_runtime_that_was_installed_with_the_agent_is_run() {
    let place = tempfile::tempdir().unwrap();
    let check = |name: &str, twill: &str, twilld: &str| {
        let found = Command::new(&files(None), Some(&place.path().join(twilld)));
        assert!(found.is_none(), "{name}: none is there");
        let twill = place.path().join(twill);
        fs::create_dir_all(twill.parent().unwrap()).unwrap();
        fs::write(&twill, "").unwrap();
        let found = Command::new(&files(None), Some(&place.path().join(twilld))).unwrap();
        let arguments = ["network", "sync"].map(str::to_owned).to_vec();
        assert_eq!((found.program, found.arguments), (twill, arguments), "{name}");
    };
    check("side by side", "debug/twill", "debug/twilld");
    check("as installed", "usr/bin/twill", "usr/sbin/twilld");
}

#[test]
fn the_administrator_has_the_last_word() {
    let this = std::env::current_exe().unwrap();
    for word in ["", "none"] {
        assert!(Command::new(&files(Some(word)), Some(&this)).is_none());
    }
    let other = Command::new(&files(Some("/etc/twill/hook")), Some(&this)).unwrap();
    assert_eq!((other.program.to_str(), other.arguments), (Some("/etc/twill/hook"), Vec::new()));
}

#[test]
fn only_another_subnet_or_mtu_is_news() {
    let hook = Hook::new();
    let mut listens = hook.published.subscribe();
    let env = SubnetEnv {
        network: "10.88.0.0/16".parse().unwrap(),
        subnet: "10.88.2.0/24".parse().unwrap(),
        ipv6: None,
        mtu: Mtu::new(1450).unwrap(),
        ip_masq: false,
    };
    let other_subnet = SubnetEnv { subnet: "10.88.3.0/24".parse().unwrap(), ..env };
    let other_mtu = SubnetEnv { mtu: Mtu::new(1400).unwrap(), ..other_subnet };
    let blocks = |subnet: &str| {
        let network = "fd00:88::/48".parse().unwrap();
        Ipv6Blocks::new(network, subnet.parse().unwrap())
    };
    let both = SubnetEnv { ipv6: blocks("fd00:88:0:2::/64"), ..other_mtu };
    let moved = SubnetEnv { ipv6: blocks("fd00:88:0:3::/64"), ..both };
    let ipv6 = SubnetEnv { subnet: "fd00:88:0:3::/64".parse().unwrap(), ipv6: None, ..moved };
    let rows = [
        ("the first", env, true),
        ("the same", env, false),
        ("another network", SubnetEnv { network: "10.0.0.0/8".parse().unwrap(), ..env }, false),
        ("another subnet", other_subnet, true),
        ("another MTU", other_mtu, true),
        ("IPv6 as well", both, true),
        ("another subnet of IPv6", moved, true),
        ("IPv6 alone", ipv6, true),
        ("back again", env, true),
    ];
    for (name, env, news) in rows {
        hook.published(&env);
        assert_eq!(listens.has_changed().unwrap(), news, "{name}");
        assert_eq!(*listens.borrow_and_update(), Some(env), "{name}");
    }
}

#[test]
fn secrets_stay_with_the_agent() {
    for name in ["TWILLD_ETCD_PASSWORD", "FLANNELD_ETCD_PASSWORD", "NOTIFY_SOCKET"] {
        assert!(is_ours(name), "{name}");
    }
    for name in ["PATH", "TWILL_ROOT", "HOME"] {
        assert!(!is_ours(name), "{name}");
    }
}

fn files(hook: Option<&str>) -> Files {
    Files {
        subnet_file: "/run/flannel/subnet.env".into(),
        docker_options_file: "/run/flannel/docker".into(),
        subnet_dir: "/run/twill/networks".into(),
        state_dir: "/var/lib/twill/agent".into(),
        socket: "/run/twill/agent.sock".into(),
        subnet_hook: hook.map(|word| word.parse().unwrap()),
    }
}
