//! A dull little `iptables-restore --noflush`, to see what a transaction leaves: for tests.

use std::fmt::Write as _;

/// What `iptables-save` prints: the chains with their policies, and the rules, each with its table.
#[derive(Default)]
pub(super) struct Kernel {
    table: String,
    chains: Vec<(String, String)>,
    rules: Vec<(String, String)>,
}

impl Kernel {
    pub(super) fn feed(&mut self, text: &str) {
        for line in text.lines() {
            let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
            match verb {
                "-A" => self.rules.push((self.table.clone(), rest.to_owned())),
                "-I" => self.insert(rest),
                "-D" => self.delete(rest),
                "-X" => self.drop_chain(rest),
                _other => match line.split_at(line.len().min(1)) {
                    ("*", name) => name.clone_into(&mut self.table),
                    (":", chain) => self.chain(chain),
                    _commit => {}
                },
            }
        }
    }

    pub(super) fn saved(&self) -> String {
        let mut text = String::new();
        for table in ["raw", "mangle", "nat", "filter"] {
            // Writing to a string cannot fail.
            _ = writeln!(text, "*{table}");
            for (mark, all) in [(":", &self.chains), ("-A ", &self.rules)] {
                for (_table, line) in all.iter().filter(|(at, _line)| at == table) {
                    _ = writeln!(text, "{mark}{line}");
                }
            }
            text += "COMMIT\n";
        }
        text
    }

    fn chain(&mut self, line: &str) {
        let name = line.split(' ').next().unwrap_or_default();
        self.forget(name);
        self.chains.push((self.table.clone(), line.to_owned()));
    }

    fn forget(&mut self, chain: &str) {
        let Self { table, chains, rules } = self;
        let inside = format!("{chain} ");
        for all in [chains, rules] {
            all.retain(|(at, line)| at != table || !line.starts_with(&inside));
        }
    }

    fn insert(&mut self, line: &str) {
        let (chain, rest) = line.split_once(' ').expect("a chain");
        let (place, rule) = rest.split_once(' ').expect("a place");
        let place: usize = place.parse().expect("a number");
        let inside = format!("{chain} ");
        let own = |(at, line): &(String, String)| *at == self.table && line.starts_with(&inside);
        let mut places = (0..self.rules.len()).filter(|place| own(&self.rules[*place]));
        let place = places.nth(place - 1).unwrap_or(self.rules.len());
        self.rules.insert(place, (self.table.clone(), format!("{chain} {rule}")));
    }

    fn delete(&mut self, line: &str) {
        let gone = (self.table.clone(), line.to_owned());
        let place = self.rules.iter().position(|rule| *rule == gone);
        self.rules.remove(place.expect("what is deleted was there"));
    }

    fn drop_chain(&mut self, name: &str) {
        let into = |(_table, rule): &(String, String)| rule.ends_with(&format!("-j {name}"));
        assert!(!self.rules.iter().any(into), "somebody leads into {name}");
        self.forget(name);
    }
}
