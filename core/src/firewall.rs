//! The firewall rules of a host, as values, and the one transaction that brings them about.
//!
//! Chains, rules and comments are flannel's, so that a flanneld which ran here before, or runs here
//! after, finds its own rules. Foreign rules are never named, so they are never touched: our two
//! chains are emptied and filled again, and of the built-in chains only our own jump is moved.
//!
//! How to use it: read every chain of [`CHAINS`] and count its jumps; if [`in_place`] says no, feed
//! [`transaction`] to `iptables-restore --noflush --wait`.

use std::fmt::Write as _;

use crate::ids::Subnet;

/// What the rules depend on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Policy {
    /// The whole overlay network.
    pub network: Subnet,
    /// This host's block.
    pub subnet: Subnet,
    /// Masquerade what leaves the overlay?
    pub masquerade: Option<Masquerade>,
    /// Accept forwarded packets from and to the overlay?
    pub forward: bool,
}

/// How source ports of masqueraded packets are chosen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Masquerade {
    /// At random, so that two flows never race for one port.
    FullyRandom,
    /// The kernel's choice.
    Plain,
}

/// One rule of one chain, in the words that `iptables -S` prints after `-A CHAIN`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    /// `filter` or `nat`.
    pub table: Table,
    /// The chain that holds it.
    pub chain: &'static str,
    /// The words.
    pub words: String,
}

/// A table of iptables.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Table {
    /// Decides what may pass.
    Filter,
    /// Rewrites addresses.
    Nat,
}

impl Table {
    /// The name iptables knows it by.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
        }
    }
}

/// A chain of ours, and the rule of a built-in chain that leads into it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Chain {
    /// The table of both.
    pub table: Table,
    /// Its name.
    pub name: &'static str,
    /// The built-in chain that leads into it.
    pub parent: &'static str,
    /// The comment on each rule and on the jump.
    pub comment: &'static str,
}

/// Masquerades what leaves the overlay.
pub const POSTRTG: Chain = Chain {
    table: Table::Nat,
    name: "FLANNEL-POSTRTG",
    parent: "POSTROUTING",
    comment: "flanneld masq",
};

/// Accepts what is forwarded from and to the overlay.
pub const FWD: Chain = Chain {
    table: Table::Filter,
    name: "FLANNEL-FWD",
    parent: "FORWARD",
    comment: "flanneld forward",
};

/// All chains of ours, in the order of the transaction.
pub const CHAINS: [Chain; 2] = [FWD, POSTRTG];

impl Chain {
    /// The jump from the built-in chain, in the words that `iptables -S` prints after `-A PARENT`.
    #[must_use]
    pub fn jump(&self) -> Rule {
        let words = format!("-m comment --comment \"{}\" -j {}", self.comment, self.name);
        Rule { table: self.table, chain: self.parent, words }
    }

    fn rule(&self, matches: &str, target: &str) -> Rule {
        let words = format!("{matches} -m comment --comment \"{}\" -j {target}", self.comment);
        Rule { table: self.table, chain: self.name, words }
    }
}

/// The rules of our chains, in order, without the jumps; a chain that the policy does not want has
/// none.
#[must_use]
pub fn rules(policy: &Policy) -> Vec<Rule> {
    let Policy { network, subnet, masquerade, forward } = policy;
    let mut rules = Vec::new();
    if *forward {
        rules.push(FWD.rule(&format!("-s {network}"), "ACCEPT"));
        rules.push(FWD.rule(&format!("-d {network}"), "ACCEPT"));
    }
    if let Some(masquerade) = masquerade {
        let target = match masquerade {
            Masquerade::FullyRandom => "MASQUERADE --random-fully",
            Masquerade::Plain => "MASQUERADE",
        };
        // A packet that somebody marked (Kubernetes does) is masqueraded elsewhere.
        rules.push(POSTRTG.rule("-m mark --mark 0x4000/0x4000", "RETURN"));
        rules.push(POSTRTG.rule(&format!("-s {subnet} -d {network}"), "RETURN"));
        rules.push(POSTRTG.rule(&format!("-s {network} -d {subnet}"), "RETURN"));
        rules.push(POSTRTG.rule(&format!("! -s {network} -d {subnet}"), "RETURN"));
        rules.push(POSTRTG.rule(&format!("-s {network} ! -d 224.0.0.0/4"), target));
        rules.push(POSTRTG.rule(&format!("! -s {network} -d {network}"), target));
    }
    rules
}

/// What the kernel has now, as far as it concerns us.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Actual {
    /// The rules of our chains that exist, in order: `iptables -S CHAIN` without its `-N` line.
    /// A chain that exists and is empty has an empty list; one that does not exist is not in here.
    pub chains: Vec<(Chain, Vec<String>)>,
    /// How often each jump of ours is in its built-in chain.
    pub jumps: Vec<(Chain, usize)>,
}

impl Policy {
    fn wants(&self, chain: Chain) -> bool {
        if chain == POSTRTG { self.masquerade.is_some() } else { self.forward }
    }
}

/// Is everything as the policy wants it?
#[must_use]
pub fn in_place(policy: &Policy, actual: &Actual) -> bool {
    let wanted = rules(policy);
    CHAINS.into_iter().all(|chain| {
        let jumps = actual.jumps.iter().find(|(found, _count)| *found == chain);
        let jumps = jumps.map_or(0, |(_chain, count)| *count);
        let found = actual.chains.iter().find(|(found, _rules)| *found == chain);
        if !policy.wants(chain) {
            return jumps == 0 && found.is_none_or(|(_chain, rules)| rules.is_empty());
        }
        let words = wanted.iter().filter(|rule| rule.chain == chain.name).map(|rule| &rule.words);
        jumps == 1 && found.is_some_and(|(_chain, rules)| rules.iter().eq(words))
    })
}

/// The text for one `iptables-restore --noflush`: all of it happens, or nothing.
///
/// `actual` is needed for the jumps: a restore cannot say "if it is there, remove it".
#[must_use]
pub fn transaction(policy: &Policy, actual: &Actual) -> String {
    let wanted = rules(policy);
    let mut text = String::new();
    for chain in CHAINS {
        let jumps = actual.jumps.iter().find(|(found, _count)| *found == chain);
        let jumps = jumps.map_or(0, |(_chain, count)| *count);
        let exists = actual.chains.iter().any(|(found, _rules)| *found == chain);
        if !policy.wants(chain) && jumps == 0 && !exists {
            continue;
        }
        let jump = chain.jump();
        // Writing to a string cannot fail. Naming a chain empties it, or makes it.
        _ = writeln!(text, "*{}\n:{} - [0:0]", chain.table.name(), chain.name);
        for rule in wanted.iter().filter(|rule| rule.chain == chain.name) {
            _ = writeln!(text, "-A {} {}", rule.chain, rule.words);
        }
        let keep = usize::from(policy.wants(chain));
        for _surplus in keep..jumps {
            _ = writeln!(text, "-D {} {}", jump.chain, jump.words);
        }
        if keep > jumps {
            _ = writeln!(text, "-A {} {}", jump.chain, jump.words);
        }
        if keep == 0 {
            _ = writeln!(text, "-X {}", chain.name);
        }
        text.push_str("COMMIT\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    fn policy() -> Policy {
        Policy {
            network: "10.88.0.0/16".parse().expect("a network"),
            subnet: "10.88.31.0/24".parse().expect("a subnet"),
            masquerade: Some(Masquerade::FullyRandom),
            forward: true,
        }
    }

    /// What the kernel would hold after `policy` was applied to it.
    fn applied(policy: &Policy) -> Actual {
        let rules = rules(policy);
        let of = |chain: Chain| {
            let rules = rules.iter().filter(|rule| rule.chain == chain.name);
            (chain, rules.map(|rule| rule.words.clone()).collect())
        };
        let wanted = CHAINS.into_iter().filter(|chain| policy.wants(*chain));
        Actual { chains: wanted.clone().map(of).collect(), jumps: wanted.map(|c| (c, 1)).collect() }
    }

    /// The rules of a real flanneld, in the words of `iptables-save`.
    #[test]
    fn rules_are_flannels() {
        let jumps = CHAINS.map(|chain| chain.jump());
        let rules = jumps.into_iter().chain(rules(&policy()));
        let lines: Vec<String> = rules
            .map(|rule| format!("{} -A {} {}", rule.table.name(), rule.chain, rule.words))
            .collect();
        let text = lines.join("\n") + "\n";
        golden::check("firewall-rules.txt", &text);
        let plain = Policy { masquerade: Some(Masquerade::Plain), ..policy() };
        assert!(super::rules(&plain).iter().all(|rule| !rule.words.contains("--random-fully")));
    }

    #[test]
    fn transactions() {
        let nothing = Policy { masquerade: None, forward: false, ..policy() };
        let forward_only = Policy { masquerade: None, ..policy() };
        let doubled = {
            let mut actual = applied(&policy());
            actual.jumps[0].1 = 3;
            actual
        };
        let rows = [
            ("firewall-fresh.txt", &policy(), Actual::default()),
            ("firewall-again.txt", &policy(), applied(&policy())),
            ("firewall-doubled-jump.txt", &policy(), doubled),
            ("firewall-no-masquerade.txt", &forward_only, applied(&policy())),
            ("firewall-forward-only.txt", &forward_only, Actual::default()),
            ("firewall-take-all-away.txt", &nothing, applied(&policy())),
        ];
        for (name, policy, actual) in rows {
            golden::check(name, &transaction(policy, &actual));
        }
        assert_eq!(transaction(&nothing, &Actual::default()), "", "nothing there, nothing to do");
    }

    #[test]
    fn notices_whatever_is_out_of_place() {
        let wanted = policy();
        assert!(in_place(&wanted, &applied(&wanted)));
        let row = |name: &str, spoil: fn(&mut Actual)| {
            let mut actual = applied(&wanted);
            spoil(&mut actual);
            assert!(!in_place(&wanted, &actual), "{name}");
        };
        row("nothing there", |actual| *actual = Actual::default());
        row("a jump is gone", |actual| actual.jumps[0].1 = 0);
        row("a jump is there twice", |actual| actual.jumps[1].1 = 2);
        row("a chain is empty", |actual| actual.chains[0].1.clear());
        row("a chain is gone", |actual| drop(actual.chains.pop()));
        row("a rule is gone", |actual| drop(actual.chains[1].1.remove(2)));
        row("a rule too many", |actual| actual.chains[0].1.push("-j DROP".to_owned()));
        row("rules in another order", |actual| actual.chains[1].1.swap(0, 1));
        let other = Policy { subnet: "10.88.32.0/24".parse().expect("a subnet"), ..policy() };
        assert!(!in_place(&other, &applied(&wanted)), "rules of the subnet we had before");
        let nothing = Policy { masquerade: None, forward: false, ..policy() };
        assert!(!in_place(&nothing, &applied(&wanted)), "rules that are no longer wanted");
        assert!(in_place(&nothing, &Actual::default()));
    }
}
