//! What happened to whom, so that a failure can be told as a story.

use std::fmt::Write as _;

use tokio::time::Instant;
use twill_core::ids::Subnet;

/// Whom an entry is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum About {
    Host(usize),
    Subnet(Subnet),
    Both(usize, Subnet),
}

/// All entries so far, in their order.
#[derive(Debug)]
pub(super) struct Chronicle {
    start: Instant,
    entries: Vec<(Instant, About, String)>,
}

impl Chronicle {
    pub(super) fn new(start: Instant) -> Self {
        Self { start, entries: Vec::new() }
    }

    pub(super) fn note(&mut self, about: About, what: String) {
        self.entries.push((Instant::now(), about, what));
    }

    /// All that is said about these hosts or this subnet.
    pub(super) fn story(&self, hosts: &[usize], subnet: Option<Subnet>) -> String {
        let concerns = |about: &About| match about {
            About::Host(host) => hosts.contains(host),
            About::Subnet(of) => Some(*of) == subnet,
            About::Both(host, of) => hosts.contains(host) || Some(*of) == subnet,
        };
        let mut text = String::new();
        for (at, about, what) in self.entries.iter().filter(|(_, about, _)| concerns(about)) {
            let after = at.duration_since(self.start).as_secs_f64();
            // Writing to a string cannot fail.
            _ = writeln!(text, "{after:9.3} {about:?}: {what}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_leaves_out_what_has_nothing_to_do_with_it() {
        let [five, six] = ["10.5.5.0/24", "10.5.6.0/24"].map(|text| text.parse().unwrap());
        let mut chronicle = Chronicle::new(Instant::now());
        for (about, what) in [
            (About::Host(1), "killed"),
            (About::Host(2), "paused"),
            (About::Subnet(five), "revoked"),
            (About::Subnet(six), "forgotten"),
            (About::Both(3, five), "claims"),
            (About::Both(1, six), "moves"),
        ] {
            chronicle.note(about, what.to_owned());
        }
        let story = chronicle.story(&[1], Some(five));
        let told: Vec<&str> = story.lines().filter_map(|line| line.rsplit(' ').next()).collect();
        assert_eq!(told, ["killed", "revoked", "claims", "moves"]);
    }
}
