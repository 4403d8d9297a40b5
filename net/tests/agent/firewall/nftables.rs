//! Written with nftables, in a table of our own.

use super::{firewall, policy, saved};
use crate::host::{feed, on_a_host, run};
use twill_core::firewall::{Engine, Policy};

#[test]
fn the_table_is_as_it_is_printed() {
    on_a_host(async |_scratch| {
        plant();
        assert!(firewall(Engine::Nftables).await.ensure(&[policy(1)]).await.unwrap());
        let table = run("nft -s -n list table inet twill");
        assert_eq!(table, twill_core::firewall::nftables::table(&[policy(1)]));
        // So that a restart of the agent writes nothing.
        assert!(!firewall(Engine::Nftables).await.ensure(&[policy(1)]).await.unwrap());
    });
}

#[test]
fn what_was_spoilt_is_healed_and_nothing_else_is_touched() {
    on_a_host(async |_scratch| {
        plant();
        let foreign = saved();
        let mut firewall = firewall(Engine::Nftables).await;
        firewall.ensure(&[policy(1)]).await.unwrap();
        let good = saved();
        for (name, deed) in [
            ("a flushed chain", "nft flush chain inet twill postrouting"),
            ("a table that is gone", "nft delete table inet twill"),
            ("a rule too much", "nft insert rule inet twill postrouting accept"),
            (
                "a rule twice",
                "nft add rule inet twill postrouting ip saddr 10.5.1.0/24 ip daddr 10.5.0.0/16 return",
            ),
            (
                "a chain too much",
                "nft add chain inet twill x { type filter hook forward priority 0; policy drop; }",
            ),
            ("a clamp that is gone", "nft delete chain inet twill clamp"),
            ("another policy", "nft chain inet twill postrouting { policy drop; }"),
            ("a table that is off", "nft add table inet twill { flags dormant; }"),
        ] {
            run(deed);
            assert_ne!(saved(), good, "{name}: nothing was spoilt");
            assert!(firewall.ensure(&[policy(1)]).await.unwrap(), "{name}: not noticed");
            assert_eq!(sorted(&saved()), sorted(&good), "{name}");
            assert!(!firewall.ensure(&[policy(1)]).await.unwrap(), "{name}: noticed twice");
        }
        let none = Policy { masquerade: None, forward: false, entrances: Vec::new(), ..policy(1) };
        assert!(firewall.ensure(std::slice::from_ref(&none)).await.unwrap());
        assert_eq!(saved(), foreign);
    });
}

/// What our nft does not print as we write it is compared with what it printed right after.
#[test]
fn a_table_that_is_printed_in_other_words_is_not_written_again_and_again() {
    on_a_host(async |_scratch| {
        // nft leaves the mask of a whole address out.
        let odd = Policy { subnet: "10.5.1.7/32".parse().unwrap(), ..policy(1) };
        let mut firewall = firewall(Engine::Nftables).await;
        assert!(firewall.ensure(std::slice::from_ref(&odd)).await.unwrap());
        assert!(!run("nft -s -n list table inet twill").contains("10.5.1.7/32"));
        assert!(!firewall.ensure(std::slice::from_ref(&odd)).await.unwrap(), "nothing has changed");
        run("nft insert rule inet twill postrouting accept");
        assert!(firewall.ensure(std::slice::from_ref(&odd)).await.unwrap());
        assert!(!firewall.ensure(std::slice::from_ref(&odd)).await.unwrap());
        assert!(firewall.ensure(&[policy(1)]).await.unwrap(), "another policy");
    });
}

#[test]
fn what_flanneld_left_goes_and_what_only_looks_so_stays() {
    on_a_host(async |_scratch| {
        feed(
            "nft -f -",
            "table ip flannel-ipv4 {\n comment \"rules for flannel-ipv4\"\n chain postrtg {\n \
             type nat hook postrouting priority srcnat; policy accept;\n \
             ip saddr 10.5.0.0/16 masquerade\n }\n}\ntable ip6 flannel-ipv6 {\n}\n",
        );
        firewall(Engine::Nftables).await.ensure(&[policy(1)]).await.unwrap();
        assert_eq!(run("nft list tables"), "table ip6 flannel-ipv6\ntable inet twill\n");
    });
}

fn plant() {
    feed(
        "nft -f -",
        "table inet filter {\n chain forward {\n type filter hook forward priority 0; policy accept;\n \
         ip saddr 10.5.0.0/16 counter accept\n }\n}\n\
         table ip twill {\n chain postrouting {\n }\n}\n",
    );
    run("iptables-nft -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE");
}

/// A table that was made anew is listed last.
fn sorted(rules: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = rules.lines().collect();
    lines.sort_unstable();
    lines
}
