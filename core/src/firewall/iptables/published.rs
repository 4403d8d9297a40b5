//! The rules of published ports in iptables.
//!
//! * `TWILL-PORTS` and `TWILL-PORTS-OUT` lead what comes to a published port, and what this host sends
//!   to one of its own, to the container.
//! * `TWILL-PORTS-SNAT` makes the host the sender where a container would answer past it.
//! * `TWILL-PORTS-FWD` lets such packets pass, before anybody drops them.
//! * `TWILL-PORTS-RAW` keeps everybody but the host itself from the host's loopback, and from speaking in
//!   its name: the switch that lets it reach containers would open both.

use super::{Chain, Role, Ruleset, Table, Wanted, assemble, bring, place, remove};
use crate::firewall::ports::{Publication, bridges, sources};
use crate::ids::{Family, Subnet};

const COMMENT: &str = "twill ports";

/// What arrives.
pub const IN: Chain = Chain { table: Table::Nat, name: "TWILL-PORTS", comment: COMMENT };
/// What this host sends.
pub const OUT: Chain = Chain { table: Table::Nat, name: "TWILL-PORTS-OUT", comment: COMMENT };
/// What has to come back through the host.
pub const HAIRPIN: Chain = Chain { table: Table::Nat, name: "TWILL-PORTS-SNAT", comment: COMMENT };
/// What may pass.
pub const PASS: Chain = Chain { table: Table::Filter, name: "TWILL-PORTS-FWD", comment: COMMENT };
/// What may not.
pub const LOOPBACK: Chain = Chain { table: Table::Raw, name: "TWILL-PORTS-RAW", comment: COMMENT };

/// All chains of published ports.
pub const CHAINS: [Chain; 5] = [IN, OUT, HAIRPIN, PASS, LOOPBACK];

/// The text for one `iptables-restore --noflush` of that family, of which all happens or nothing; empty
/// when everything is as it should be. They are sorted.
#[must_use]
pub fn transaction(
    (publications, family): (&[Publication], Family),
    role: Role,
    found: &Ruleset,
) -> String {
    let own: Vec<Publication> =
        publications.iter().filter(|it| it.family() == family).cloned().collect();
    let useful = |chain: Chain| match role {
        Role::Whole => true,
        Role::Opening => chain == PASS && found.may_drop("FORWARD"),
        Role::Nothing => false,
    };
    assemble(&CHAINS, |chain| {
        let rules = rules(&own, chain);
        if rules.is_empty() || !useful(chain) {
            return remove(chain, found);
        }
        bring(chain, &Wanted { rules, place: place::Place::of(chain, found) }, found)
    })
}

fn rules(publications: &[Publication], chain: Chain) -> Vec<String> {
    match chain {
        IN | OUT => publications.iter().map(|it| turn(it, chain)).collect(),
        HAIRPIN => bridges(publications).into_iter().flat_map(hairpin).collect(),
        PASS => {
            let ports = publications.iter().flat_map(pass);
            ports.chain(bridges(publications).into_iter().flat_map(related)).collect()
        }
        _loopback => {
            let ipv4 = publications.iter().any(|it| it.family() == Family::V4);
            let ends = if ipv4 { ["-s", "-d"].as_slice() } else { &[] };
            let outside = |end| LOOPBACK.rule(&format!("{end} 127.0.0.0/8 ! -i lo"), "DROP");
            ends.iter().map(outside).collect()
        }
    }
}

fn turn(Publication { protocol, at, port, to, .. }: &Publication, chain: Chain) -> String {
    let place = format!("-p {protocol} -m {protocol} --dport {port}");
    let place = match at {
        Some(address) => {
            format!("-d {address}/{} {place}", if address.is_ipv4() { 32 } else { 128 })
        }
        None => format!("{place} -m addrtype --dst-type LOCAL"),
    };
    chain.rule(&place, &format!("DNAT --to-destination {to}"))
}

fn hairpin((bridge, subnet): (&str, Subnet)) -> impl Iterator<Item = String> {
    sources(subnet).map(move |from| {
        let turned = format!("-s {from} -o {bridge} -m conntrack --ctstate DNAT");
        HAIRPIN.rule(&turned, "MASQUERADE")
    })
}

/// There and back.
fn pass(publication: &Publication) -> [String; 2] {
    let Publication { protocol, to, bridge, .. } = publication;
    let address = Subnet::containing(to.ip(), if to.is_ipv4() { 32 } else { 128 });
    let address = address.map_or_else(String::new, |address| address.to_string());
    let port = to.port();
    [("-d", "-o", "--dport"), ("-s", "-i", "--sport")].map(|(end, way, number)| {
        let turned = "-m conntrack --ctstate DNAT";
        let packets = format!(
            "{end} {address} {way} {bridge} -p {protocol} -m {protocol} {number} {port} {turned}"
        );
        PASS.rule(&packets, "ACCEPT")
    })
}

/// Complaints about what passes, as that a packet is too big.
fn related((bridge, subnet): (&str, Subnet)) -> [String; 2] {
    [("-d", "-o"), ("-s", "-i")].map(|(end, way)| {
        let complaints = format!("{end} {subnet} {way} {bridge} -m conntrack --ctstate RELATED");
        PASS.rule(&complaints, "ACCEPT")
    })
}

#[cfg(test)]
mod tests {
    use super::super::restore::Kernel;
    use super::*;
    use crate::firewall::ports::tests::publication;

    fn settle(publications: &[Publication], role: Role, before: &str) -> String {
        let mut kernel = Kernel::default();
        kernel.feed(before);
        let found = Ruleset::parse(&kernel.saved());
        kernel.feed(&transaction((publications, Family::V4), role, &found));
        let found = Ruleset::parse(&kernel.saved());
        let again = transaction((publications, Family::V4), role, &found);
        assert_eq!(again, "", "all is as it should be");
        kernel.saved()
    }

    const HOST: &str = "*nat\n:PREROUTING ACCEPT\n:OUTPUT ACCEPT\n:POSTROUTING ACCEPT\n*raw\n\
        :PREROUTING ACCEPT\n*filter\n:FORWARD DROP\n-A FORWARD -i eth9 -j DROP\n";

    #[test]
    fn rules_come_whole_and_go_whole() {
        let all =
            [publication("192.0.2.1", 8080, "10.5.1.3:80"), publication("", 53, "10.5.1.2:5")];
        let saved = settle(&all, Role::Whole, HOST);
        let comment = "-m comment --comment \"twill ports\"";
        for line in [
            format!(
                "-A TWILL-PORTS -d 192.0.2.1/32 -p tcp -m tcp --dport 8080 {comment} -j DNAT --to-destination 10.5.1.3:80"
            ),
            format!(
                "-A TWILL-PORTS-OUT -p tcp -m tcp --dport 53 -m addrtype --dst-type LOCAL {comment} -j DNAT --to-destination 10.5.1.2:5"
            ),
            format!(
                "-A TWILL-PORTS-SNAT -s 127.0.0.0/8 -o twill0 -m conntrack --ctstate DNAT {comment} -j MASQUERADE"
            ),
            format!(
                "-A TWILL-PORTS-SNAT -s 10.5.1.0/24 -o twill0 -m conntrack --ctstate DNAT {comment} -j MASQUERADE"
            ),
            format!(
                "-A TWILL-PORTS-FWD -d 10.5.1.2/32 -o twill0 -p tcp -m tcp --dport 5 -m conntrack --ctstate DNAT {comment} -j ACCEPT"
            ),
            format!(
                "-A TWILL-PORTS-FWD -s 10.5.1.3/32 -i twill0 -p tcp -m tcp --sport 80 -m conntrack --ctstate DNAT {comment} -j ACCEPT"
            ),
            format!("-A TWILL-PORTS-RAW -s 127.0.0.0/8 ! -i lo {comment} -j DROP"),
            format!("-A TWILL-PORTS-RAW -d 127.0.0.0/8 ! -i lo {comment} -j DROP"),
            format!("-A PREROUTING {comment} -j TWILL-PORTS"),
            format!("-A OUTPUT {comment} -j TWILL-PORTS-OUT"),
            format!("-A POSTROUTING {comment} -j TWILL-PORTS-SNAT"),
        ] {
            assert!(saved.lines().any(|it| it == line), "{line} is not in\n{saved}");
        }
        let first = saved.lines().find(|line| line.starts_with("-A FORWARD")).unwrap();
        assert!(first.ends_with("-j TWILL-PORTS-FWD"), "before the drop of others: {first}");
        let after = settle(&[], Role::Whole, &saved);
        assert!(!after.contains("TWILL"), "{after}");
        assert!(after.contains("-A FORWARD -i eth9 -j DROP"), "{after}");
    }

    #[test]
    fn another_engine_needs_a_way_only_where_others_drop() {
        let all = [publication("", 8080, "10.5.1.2:80")];
        let saved = settle(&all, Role::Opening, HOST);
        assert!(saved.contains("TWILL-PORTS-FWD") && !saved.contains("DNAT --to"), "{saved}");
        let open = settle(&all, Role::Opening, "*filter\n:FORWARD ACCEPT\n");
        assert!(!open.contains("TWILL"), "{open}");
        assert!(!settle(&all, Role::Nothing, &saved).contains("TWILL"));
    }

    #[test]
    fn each_family_has_its_own() {
        let all = [publication("", 8080, "[fd00:5:1::2]:80"), publication("::1", 1, "[fd00::2]:2")];
        let found = Ruleset::parse("");
        assert_eq!(transaction((&all, Family::V4), Role::Whole, &found), "");
        let text = transaction((&all, Family::V6), Role::Whole, &found);
        assert!(text.contains("--to-destination [fd00:5:1::2]:80"), "{text}");
        assert!(text.contains("-d ::1/128 -p tcp") && !text.contains("127.0.0.0"), "{text}");
    }
}
