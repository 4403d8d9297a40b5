//! Written with iptables, in both of its variants.

use iptables::IPTables;

use super::{IPTABLES, LEGACY, firewall, policy};
use crate::deeds::{Deed, ON_THE_RULES, fill};
use crate::host::{feed, on_a_host, run};
use twill_core::firewall::Policy;

#[test]
fn the_rules_are_flannels_and_what_passes_between_hosts_comes_first() {
    on_a_host(async |_scratch| {
        let mut firewall = firewall(IPTABLES).await;
        assert!(firewall.ensure(&[policy(1)]).await.unwrap(), "there was nothing yet");
        assert_eq!(
            run("iptables-nft -t filter -S"),
            "-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n-N FLANNEL-FWD\n-N TWILL-FWD\n\
             -A FORWARD -m comment --comment \"twill between hosts\" -j TWILL-FWD\n\
             -A FORWARD -m comment --comment \"flanneld forward\" -j FLANNEL-FWD\n\
             -A FLANNEL-FWD -s 10.5.0.0/16 -m comment --comment \"flanneld forward\" -j ACCEPT\n\
             -A FLANNEL-FWD -d 10.5.0.0/16 -m comment --comment \"flanneld forward\" -j ACCEPT\n\
             -A TWILL-FWD -s 10.5.0.0/16 -d 10.5.1.0/24 -i flannel.1 -m comment --comment \
             \"twill between hosts\" -j ACCEPT\n\
             -A TWILL-FWD -s 10.5.1.0/24 -d 10.5.0.0/16 -o flannel.1 -m comment --comment \
             \"twill between hosts\" -j ACCEPT\n"
        );
        let nat = run("iptables-nft -t nat -S FLANNEL-POSTRTG");
        assert_eq!(nat.lines().count(), 7, "{nat}");
        assert!(nat.ends_with("-j MASQUERADE --random-fully\n"), "{nat}");
        assert_eq!(
            run("nft list tables"),
            "table ip filter\ntable ip nat\ntable ip mangle\n",
            "and no raw"
        );
    });
}

/// Each way in which somebody can spoil our rules.
#[test]
fn what_was_spoilt_is_healed_in_one_go() {
    for (engine, program) in [(IPTABLES, "iptables-nft"), (LEGACY, "iptables-legacy")] {
        on_a_host(async |_scratch| {
            plant(program);
            let mut firewall = firewall(engine).await;
            firewall.ensure(&[policy(1)]).await.unwrap();
            assert!(!firewall.ensure(&[policy(1)]).await.unwrap(), "nothing is written twice");
            let good = saved(program);
            for Deed { says: name, types, .. } in ON_THE_RULES {
                for line in types {
                    let line = fill(line, &[("NETWORK", "10.5.0.0/16"), ("iptables", program)]);
                    run(&line);
                }
                assert_ne!(saved(program), good, "{name}: nothing was spoilt");
                assert!(firewall.ensure(&[policy(1)]).await.unwrap(), "{name}: not noticed");
                assert_eq!(saved(program), good, "{program}: {name}");
                assert!(!firewall.ensure(&[policy(1)]).await.unwrap(), "{name}: noticed twice");
            }
        });
    }
}

#[test]
fn doubles_go() {
    on_a_host(async |_scratch| {
        let mut firewall = firewall(IPTABLES).await;
        firewall.ensure(&[policy(1)]).await.unwrap();
        let good = saved("iptables-nft");
        let jump = "*filter\n-A FORWARD -m comment --comment \"flanneld forward\" -j FLANNEL-FWD\n\
                    COMMIT\n";
        for _twice in 0..2 {
            feed("iptables-nft-restore --noflush", jump);
        }
        assert_eq!(saved("iptables-nft").matches("-j FLANNEL-FWD").count(), 3);
        assert!(firewall.ensure(&[policy(1)]).await.unwrap());
        assert_eq!(saved("iptables-nft"), good);
    });
}

#[test]
fn other_peoples_rules_are_left_alone() {
    for (engine, program) in [(IPTABLES, "iptables-nft"), (LEGACY, "iptables-legacy")] {
        on_a_host(async |_scratch| {
            plant(program);
            let foreign = saved(program);
            let mut firewall = firewall(engine).await;
            firewall.ensure(&[policy(1)]).await.unwrap();
            assert_eq!(without_ours(&saved(program)), without_ours(&foreign), "{program}");
            let none =
                Policy { masquerade: None, forward: false, entrances: Vec::new(), ..policy(1) };
            assert!(firewall.ensure(std::slice::from_ref(&none)).await.unwrap());
            assert_eq!(without_empty(&saved(program)), without_empty(&foreign), "{program}");
        });
    }
}

/// What others have on a host, put there by another hand than ours.
fn plant(program: &'static str) {
    let other = IPTables { cmd: program, has_check: true, has_wait: true, is_numeric: true };
    other.set_policy("filter", "FORWARD", "DROP").unwrap();
    other.new_chain("filter", "DOCKER-USER").unwrap();
    for (table, chain, rule) in [
        ("filter", "FORWARD", "-m conntrack --ctstate INVALID -j DROP"),
        ("filter", "FORWARD", "-j DOCKER-USER"),
        ("filter", "DOCKER-USER", "-s 10.5.0.0/16 -j RETURN"),
        ("nat", "POSTROUTING", "-s 172.17.0.0/16 ! -o docker0 -j MASQUERADE"),
        ("mangle", "PREROUTING", "-j MARK --set-mark 7"),
        ("raw", "PREROUTING", "-d 10.5.1.2/32 ! -i docker0 -j DROP"),
    ] {
        other.append(table, chain, rule).unwrap();
    }
}

#[test]
fn a_new_subnet_takes_the_place_of_the_old_one() {
    on_a_host(async |_scratch| {
        let mut firewall = firewall(IPTABLES).await;
        firewall.ensure(&[policy(1)]).await.unwrap();
        assert!(firewall.ensure(&[policy(2)]).await.unwrap());
        let rules = saved("iptables-nft");
        assert!(rules.contains("10.5.2.0/24") && !rules.contains("10.5.1.0/24"), "{rules}");
    });
}

/// To ask the old interface for a table makes it, and every packet then passes it.
#[test]
fn nothing_is_made_that_nobody_needs() {
    on_a_host(async |_scratch| {
        firewall(IPTABLES).await.ensure(&[policy(1)]).await.unwrap();
        let tables = std::fs::read_to_string("/proc/thread-self/net/ip_tables_names").unwrap();
        assert_eq!(tables, "");
    });
}

/// All rules of one variant, without counters and remarks.
fn saved(program: &str) -> String {
    let text = run(&format!("{program}-save"));
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    for line in &mut lines {
        *line = line.split(" [").next().unwrap_or(line);
    }
    lines.join("\n")
}

fn without_ours(rules: &str) -> Vec<String> {
    let ours = ["FLANNEL-", "TWILL-"];
    let others = rules.lines().filter(|line| !ours.iter().any(|name| line.contains(name)));
    without_empty(&others.collect::<Vec<_>>().join("\n"))
}

/// Without the built-in chains, which stay when their last rule is gone, and in the order of names.
fn without_empty(rules: &str) -> Vec<String> {
    let idle = |line: &&str| line.starts_with(['*', 'C']) || line.ends_with(" ACCEPT");
    let mut lines: Vec<String> = rules
        .lines()
        .filter(|line| line.starts_with("-A") || !idle(line))
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}
