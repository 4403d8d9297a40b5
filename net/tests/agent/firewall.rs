//! The firewall rules: put, healed, and kept apart from everybody else's.

mod apart;
mod clamp;
mod gate;
mod iptables;
mod ipv6;
mod migration;
mod nftables;
mod passage;
mod world;

use std::time::Duration;

use tokio::time::timeout;

use crate::host::{on_a_host, run, subnet};
use twill_core::firewall::choose::Wish;
use twill_core::firewall::{Clients, Engine, Entrance, Masquerade, Policy, Ports, Variant};
use twill_core::ids::Subnet;
use twill_net::firewall::{Firewall, Programs, Watch};

const IPTABLES: Engine = Engine::Iptables(Variant::NfTables);
const LEGACY: Engine = Engine::Iptables(Variant::Legacy);

#[test]
fn a_change_is_heard_of_and_a_look_is_none() {
    on_a_host(async |_scratch| {
        for engine in [IPTABLES, Engine::Nftables] {
            let programs = Programs::probe().await.unwrap();
            let mut watch = programs.watch().unwrap().expect("this kernel tells");
            let heard = async |watch: &mut Watch| {
                timeout(Duration::from_millis(500), watch.changed()).await.is_ok()
            };
            let mut firewall = Firewall::new(programs, engine);
            firewall.ensure(&[policy(1)]).await.unwrap();
            assert!(heard(&mut watch).await, "{engine}: we made rules");
            assert!(!heard(&mut watch).await, "{engine}: once for all of them");
            assert!(!firewall.ensure(&[policy(1)]).await.unwrap());
            assert!(!heard(&mut watch).await, "{engine}: a look must not wake anybody");
            run("iptables -A OUTPUT -j ACCEPT");
            assert!(heard(&mut watch).await, "{engine}: somebody made a rule");
        }
    });
}

#[test]
fn the_host_is_asked_what_it_uses() {
    on_a_host(async |_scratch| {
        let programs = Programs::probe().await.unwrap();
        let chosen = async |wish, nftables| programs.choose(wish, nftables).await.unwrap();
        for wish in [Wish::Auto, Wish::Iptables, Wish::Nftables, Wish::None] {
            programs.check(wish).unwrap();
        }
        let says = run("iptables --version");
        let usual = if says.contains("nf_tables") { IPTABLES } else { LEGACY };
        assert_eq!(chosen(Wish::Auto, false).await, usual, "nobody has rules");
        assert_eq!(chosen(Wish::Auto, true).await, Engine::Nftables, "the network asks for it");
        run("nft add table inet firewalld");
        assert_eq!(chosen(Wish::Auto, false).await, Engine::Nftables, "the host's own are nft's");
        run("iptables-legacy -A FORWARD -j ACCEPT");
        assert_eq!(chosen(Wish::Auto, false).await, LEGACY, "somebody uses the old interface");
        run("iptables-nft -P FORWARD DROP");
        run("iptables-nft -A FORWARD -j ACCEPT");
        assert_eq!(chosen(Wish::Auto, false).await, IPTABLES, "most rules are here");
        assert_eq!(chosen(Wish::Nftables, false).await, Engine::Nftables);
        assert_eq!(chosen(Wish::None, false).await, Engine::None);
    });
}

async fn firewall(engine: Engine) -> Firewall {
    Firewall::new(Programs::probe().await.unwrap(), engine)
}

fn policy(n: u8) -> Policy {
    Policy {
        network: Subnet::new([10, 5, 0, 0].into(), 16).unwrap(),
        subnet: subnet(n),
        masquerade: Some(Masquerade { ports: Ports::FullyRandom, clients: Clients::Hidden }),
        forward: true,
        entrances: vec![Entrance::Tunnel("flannel.1".to_owned())],
        nftables: false,
    }
}

/// All rules of all engines, without counters and remarks.
fn saved() -> String {
    let ours: [&str; 3] = ["nft -s list ruleset", "iptables-nft-save", "iptables-legacy-save"];
    let text: String = ours.map(run).concat();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(" [").next().unwrap_or(line).to_owned() + "\n").collect()
}
