//! Whose packets the table of peers lets in, against whose it should.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Finding, MENDS};
use crate::firewall::gate::{Lack, Table};

/// More addresses say nothing more.
const MOST_HOSTS: usize = 4;

/// Is the table as it should be? One that lets in too much stops nobody, and is a warning.
///
/// An agent with other options than ours may want none, or another one.
#[must_use]
pub fn gate(table: &Table, lacks: &[Lack]) -> Vec<Finding> {
    let check = "table of peers";
    let name = format!("nftables table {} {table}", table.family());
    let fail = |what: String| Finding::fail(check, what, MENDS);
    let warn = |what: String| Finding::warn(check, what, MENDS);
    if lacks.is_empty() {
        return vec![Finding::ok(check, "peers alone may send to containers of this host")];
    }
    let finding = |lack: &Lack| match lack {
        Lack::Table => {
            warn(format!("there is no {name}: strangers may send packets to containers"))
        }
        Lack::Unwanted => {
            warn(format!("there is a {name}, and everybody's packets should come in"))
        }
        Lack::Rules => fail(format!("the rules of the {name} are not as they were written")),
        Lack::Peers(hosts) => {
            fail(format!("the {name} refuses packets of peers: {}", words(hosts)))
        }
        Lack::Strangers(hosts) => {
            warn(format!("the {name} lets in what no peer sends: from {}", words(hosts)))
        }
    };
    lacks.iter().map(finding).collect()
}

fn words(hosts: &BTreeSet<IpAddr>) -> String {
    let mut words: Vec<String> = hosts.iter().take(MOST_HOSTS).map(IpAddr::to_string).collect();
    let more = hosts.len() - words.len();
    words.extend((more > 0).then(|| format!("{more} more")));
    words.join(" and ")
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn what_keeps_peers_out_fails_and_what_lets_strangers_in_is_a_warning() {
        let hosts = |count: u8| (1..=count).map(|n| IpAddr::from([192, 0, 2, n])).collect();
        for (lack, verdict, words) in [
            (Lack::Table, Verdict::Warn, "there is no nftables table ip twill-peers"),
            (Lack::Unwanted, Verdict::Warn, "there is a nftables table"),
            (Lack::Rules, Verdict::Fail, "the rules of the nftables table"),
            (Lack::Peers(hosts(1)), Verdict::Fail, "refuses packets of peers: 192.0.2.1"),
            (Lack::Strangers(hosts(7)), Verdict::Warn, "192.0.2.4 and 3 more"),
        ] {
            let found = gate(&Table::default(), &[lack]);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].verdict == verdict && found[0].what.contains(words), "{found:?}");
        }
        assert_eq!(gate(&Table::default(), &[])[0].verdict, Verdict::Ok);
    }
}
