//! The table of flags, variables and defaults.

use std::collections::HashMap;

use super::*;

#[test]
fn defaults_are_those_of_flannel() {
    let flags = parse(&[], &[]).unwrap().flags;
    assert_eq!(flags.etcd.endpoints.0, ["http://127.0.0.1:4001", "http://127.0.0.1:2379"]);
    assert_eq!(flags.etcd.prefix, "/coreos.com/network");
    assert_eq!(flags.subnet_lease_renew_margin, Duration::from_hours(1));
    assert_eq!(flags.files.subnet_file, PathBuf::from("/run/flannel/subnet.env"));
    assert!(
        !flags.firewall.masquerade.ip_masq
            && !flags.firewall.masquerade.ip_masq_fully_random_disable
    );
    assert!(flags.firewall.iptables_forward_rules && !flags.firewall.masquerade.preserve_client_ip);
    assert_eq!(flags.firewall.engine, Engine::Auto);
    assert_eq!(flags.firewall.accept(), Accept::Peers(Sources::Own));
    assert_eq!(flags.firewall.iptables_resync, Duration::from_secs(5));
    assert_eq!((flags.healthz_ip.to_string().as_str(), flags.healthz_port), ("0.0.0.0", 0));
    assert_eq!((flags.verbosity, flags.log_format), (0, LogFormat::Text));
}

#[test]
fn programs_of_the_kernel_are_looked_after_soon_enough() {
    for (shortcut, resync, looks) in [
        ("off", 600, Duration::from_mins(10)),
        ("auto", 600, LONGEST),
        ("auto", 5, Duration::from_secs(5)),
    ] {
        let arguments = [format!("--udp-shortcut={shortcut}"), format!("--resync={resync}")];
        let arguments = arguments.each_ref().map(String::as_str);
        assert_eq!(parse(&arguments, &[]).unwrap().flags.looks(), looks, "{arguments:?}");
    }
    assert!(LONGEST * 3 < twill_tunnel::shortcut::LEAD);
}

#[test]
fn flag_then_our_variable_then_flannels_then_default() {
    let ours = ("TWILLD_ETCD_PREFIX", "/ours");
    let theirs = ("FLANNELD_ETCD_PREFIX", "/theirs");
    prefix("a flag beats every variable", &["--etcd-prefix=/flag"], &[ours, theirs], "/flag");
    prefix("ours beats flannel's", &[], &[ours, theirs], "/ours");
    prefix("flannel's beats the default", &[], &[theirs], "/theirs");
    prefix("an empty one is none", &[], &[("TWILLD_ETCD_PREFIX", ""), theirs], "/theirs");
    prefix("both empty", &[], &[("FLANNELD_ETCD_PREFIX", "")], "/coreos.com/network");
    let bools = [("FLANNELD_IP_MASQ", "true"), ("TWILLD_IP_MASQ", "0")];
    assert!(!parse(&[], &bools).unwrap().flags.firewall.masquerade.ip_masq);
    assert!(parse(&["-ip-masq"], &bools).unwrap().flags.firewall.masquerade.ip_masq);
    let one = parse(&[], &[("FLANNELD_IFACE", "eth1")]).unwrap();
    assert_eq!(one.flags.address.iface, ["eth1"]);
    assert_eq!(one.inherited, ["FLANNELD_IFACE"]);
    assert_eq!(parse(&["--iface=eth0"], &[("FLANNELD_IFACE", "eth1")]).unwrap().inherited.len(), 0);
}

#[test]
fn several_networks_have_prefixes_and_files_of_their_own() {
    let alone = parse(&["--etcd-prefix=/p/"], &[]).unwrap().flags.of_networks();
    assert_eq!((alone.len(), &alone[0].0, alone[0].1.etcd.prefix.as_str()), (1, &None, "/p/"));
    assert_eq!(alone[0].1.files.subnet_hook, None);
    for (arguments, variables) in [
        (&["-networks=blue,green", "-subnet-dir", "/d", "--etcd-prefix=/p/"][..], &[][..]),
        (
            &["--etcd-prefix=/p", "--subnet-dir=/d"],
            &[("FLANNELD_NETWORKS", "blue,green"), ("TWILLD_STATE_DIR", "/var/lib/twill/agent")],
        ),
    ] {
        let all = parse(arguments, variables).unwrap().flags.of_networks();
        let names: Vec<_> = all.iter().map(|(name, _)| name.as_ref().unwrap().as_str()).collect();
        assert_eq!(names, ["blue", "green"]);
        let Flags { etcd, files, .. } = &all[1].1;
        assert_eq!(etcd.prefix, "/p/green");
        assert_eq!(files.subnet_file, PathBuf::from("/d/green.env"));
        assert_eq!(files.docker_options_file, PathBuf::from("/d/green.docker"));
        assert_eq!(files.state_dir, PathBuf::from("/var/lib/twill/agent/networks/green"));
        assert_eq!(files.subnet_hook, Some(hook::Choice::Nothing));
    }
    let hook = parse(&["--networks=a", "--subnet-hook=/h"], &[]).unwrap().flags.of_networks();
    assert_eq!(hook[0].1.files.subnet_hook, Some(hook::Choice::Program("/h".into())));
    let none = parse(&["--networks="], &[]).unwrap().flags.of_networks();
    assert_eq!(none[0].0, None);
    refused("a name that is none", &["--networks=a/b"], &[], "not a name for a network");
    refused("one network twice", &["--networks=a,a"], &[], "network a is named twice");
}

#[test]
fn networks_that_come_and_go_are_those_of_the_option_if_it_names_any() {
    let name = |text: &str| text.parse::<twill_core::ids::NetworkName>().unwrap();
    for (arguments, variables, blue, red) in [
        (&["--watch-networks"][..], &[][..], true, true),
        (&["-watch-networks", "-networks=blue"], &[], true, false),
        (&[], &[("FLANNELD_WATCH_NETWORKS", "true")], true, true),
        (&["--watch-networks=false"], &[("TWILLD_WATCH_NETWORKS", "true")], false, false),
        (&["--networks=red"], &[], false, true),
    ] {
        let flags = parse(arguments, variables).unwrap().flags;
        let admits = (flags.may_be_in(&name("blue")), flags.may_be_in(&name("red")));
        assert_eq!(admits, (blue, red), "{arguments:?}");
    }
    // Without etcd it is known of those that this host has something of.
    let state = tempfile::tempdir().unwrap();
    for name in ["blue", "red", "not a name"] {
        std::fs::create_dir_all(state.path().join("networks").join(name)).unwrap();
    }
    let directory = format!("--state-dir={}", state.path().display());
    let flags = parse(&["--watch-networks", &directory], &[]).unwrap().flags;
    assert!(flags.are_named());
    let names: Vec<_> = flags.of_networks().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, [Some(name("blue")), Some(name("red"))]);
    assert!(!parse(&[&directory], &[]).unwrap().flags.are_named());
    refused("what is no bool", &["--watch-networks=perhaps"], &[], "perhaps");
}

#[test]
fn whose_packets_are_taken() {
    for (arguments, wanted) in [
        (&["--preserve-client-ip"][..], Accept::Peers(Sources::OwnAndOutside)),
        (&["--accept-from=anyone"], Accept::Anyone),
        (&["--accept-from=anyone", "--preserve-client-ip"], Accept::Anyone),
    ] {
        let flags = parse(arguments, &[]).unwrap().flags;
        assert_eq!(flags.firewall.accept(), wanted, "{arguments:?}");
    }
}

#[test]
fn the_data_path_of_udp_has_its_bounds() {
    for (argument, wanted) in [
        ("--udp-queues=1", Some((1, Shown::Nothing))),
        ("-udp-queues=16", Some((16, Shown::Nothing))),
        ("--udp-queues=0", None),
        ("--udp-queues=17", None),
        ("--udp-cpus=0-1", Some((0, Shown::Nothing))),
        ("--udp-cpus=all", None),
        ("--udp-marks=congestion", Some((0, Shown::Congestion))),
        ("--udp-marks=colours", None),
    ] {
        let udp = parse(&[argument], &[]).ok().map(|parsed| parsed.flags.udp);
        let found = udp.map(|udp| (udp.queues.map_or(0, NonZeroUsize::get), udp.marks));
        assert_eq!(found, wanted, "{argument}");
    }
}

#[test]
fn go_writes_flags_with_one_dash() {
    prefix("one dash, equals", &["-etcd-prefix=/a"], &[], "/a");
    prefix("one dash, blank", &["-etcd-prefix", "/a"], &[], "/a");
    prefix("two dashes, blank", &["--etcd-prefix", "/a"], &[], "/a");
    prefix("the last one holds", &["-etcd-prefix=/a", "-etcd-prefix=/b"], &[], "/b");
    let twice = parse(&["--etcd-endpoints=http://a", "--etcd-endpoints=http://b,http://c"], &[]);
    assert_eq!(twice.unwrap().flags.etcd.endpoints.0, ["http://b", "http://c"], "and not three");
    let many = parse(&["-iface", "eth0", "-iface=eth1"], &[]).unwrap().flags;
    assert_eq!(many.address.iface, ["eth0", "eth1"], "a repeatable flag adds up");
    for (argument, wanted) in [
        ("-ip-masq", true),
        ("--ip-masq=true", true),
        ("-ip-masq=T", true),
        ("-ip-masq=false", false),
    ] {
        assert_eq!(
            parse(&[argument], &[]).unwrap().flags.firewall.masquerade.ip_masq,
            wanted,
            "{argument}"
        );
    }
    for (argument, wanted) in [
        ("--firewall=iptables", Some(Engine::Iptables)),
        ("-firewall=nftables", Some(Engine::Nftables)),
        ("--firewall=none", Some(Engine::None)),
        ("--firewall=ipfw", None),
    ] {
        let found = parse(&[argument], &[]).ok().map(|parsed| parsed.flags.firewall.engine);
        assert_eq!(found, wanted, "{argument}");
    }
    let off = parse(&["-iptables-forward-rules=false"], &[]).unwrap().flags;
    assert!(!off.firewall.iptables_forward_rules);
    for (arguments, wanted) in [
        (&["-v", "2"][..], 2),
        (&["-v=2"], 2),
        (&["--v=1"], 1),
        (&["-v"], 1),
        (&["-v", "-ip-masq"], 1),
    ] {
        assert_eq!(parse(arguments, &[]).unwrap().flags.verbosity, wanted, "{arguments:?}");
    }
    let refusal = parse(&["-version"], &[]).unwrap_err();
    assert_eq!(refusal.kind(), ErrorKind::DisplayVersion);
    assert_eq!(parse(&["-help"], &[]).unwrap_err().kind(), ErrorKind::DisplayHelp);
}

#[test]
fn refusals_name_the_thing() {
    refused("an unknown flag", &["--etcd-prefixx=/a"], &[], "--etcd-prefixx");
    refused("a stray word", &["etcd"], &[], "etcd");
    refused("a bool in blank form", &["-ip-masq", "false"], &[], "false");
    refused("not a bool", &["-ip-masq=maybe"], &[], "neither true nor false");
    refused("no margin", &["--subnet-lease-renew-margin=0"], &[], "1 to 1439");
    refused("a margin of a day", &["--subnet-lease-renew-margin=1440"], &[], "1 to 1439");
    refused("a broken expression", &["--iface-regex=("], &[], "--iface-regex");
    refused("not an address", &["--public-ip=here"], &[], "IPv4");
    refused("half a key pair", &["--etcd-keyfile=/k"], &[], "--etcd-certfile");
    refused("IPv4 for IPv6", &["--public-ipv6=192.0.2.1"], &[], "invalid IPv6 address");
    refused("black holes", &["-ip-blackhole-route"], &[], "not in this version");
    let bad = [("FLANNELD_HEALTHZ_PORT", "http")];
    refused("a bad variable", &[], &bad, "variable FLANNELD_HEALTHZ_PORT");
    assert!(parse(&["--healthz-port=1"], &bad).is_ok(), "a variable that is not used does no harm");
    let pair = [("TWILLD_ETCD_KEYFILE", "/k"), ("TWILLD_ETCD_CERTFILE", "/c")];
    assert!(parse(&[], &pair).is_ok(), "a pair of variables");
    assert!(parse(&["-ip-blackhole-route=false"], &[]).is_ok(), "what is off is not used");
}

#[test]
fn the_password_is_never_printed() {
    let variables = [("TWILLD_ETCD_PASSWORD", "geheim")];
    let parsed = parse(&["--etcd-username=root"], &variables).unwrap();
    assert_eq!(parsed.flags.etcd.password.as_ref().map(value::Secret::reveal), Some("geheim"));
    assert!(!format!("{parsed:?}").contains("geheim"));
}

#[track_caller]
fn prefix(name: &str, arguments: &[&str], variables: &[(&str, &str)], wanted: &str) {
    assert_eq!(parse(arguments, variables).unwrap().flags.etcd.prefix, wanted, "{name}");
}

#[track_caller]
fn refused(name: &str, arguments: &[&str], variables: &[(&str, &str)], wanted: &str) {
    let error = parse(arguments, variables).expect_err(name);
    assert_eq!(error.exit_code(), 2, "{name}");
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    assert!(text.contains(wanted), "{name}: {line}");
}

fn parse(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Parsed, clap::Error> {
    let variables: HashMap<&str, &str> = variables.iter().copied().collect();
    let arguments = ["twilld"].iter().chain(arguments).map(OsString::from);
    Flags::parse_from(arguments, |name| variables.get(name).map(OsString::from))
}
