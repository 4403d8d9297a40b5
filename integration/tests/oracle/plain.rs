//! Evens out what differs by nature, and what the two programs' styles wrap around their messages.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use crate::cases::{Case, View};
use crate::script::Said;

/// What differs by nature, and what stands for it. What a case itself writes stays as it is.
static NATURE: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let rules = [
        (r"\b[0-9a-f]{64}\b", "<id>"),
        (r"\b[0-9a-f]{12}\b", "<short>"),
        (r"\b20\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z| ?[+-]\d\d:?\d\d( UTC)?)", "<time>"),
        (r"\b(About an?|Less than a|\d+) (second|minute)s?\b", "<while>"),
        (r"\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b", "<mac>"),
        (r"\b172\.17\.0\.([2-9]|\d\d+)\b", "<ip>"),
        (r"\bnode[12]\b", "<host>"),
        (r"/var/lib/(docker|twill)\b", "<root>"),
        (r" {3,}", "   "),
    ];
    rules.into_iter().map(|(from, to)| (regex(from), to)).collect()
});

/// Who speaks, before what is said.
static SPEAKER: LazyLock<Regex> = LazyLock::new(|| {
    let layers = "failed to create (shim )?task: |OCI runtime create failed: |runc create failed: |\
        unable to start container process: |container_linux.go:\\d+: |starting container process caused: ";
    regex(&format!("^(twill: |docker: |Error response from daemon: |Error: |error: |{layers})+"))
});

/// How one learns more, which each program says in its own way.
static ADVICE: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        "^(hint: |See 'docker|For more information, try|  tip: |Run 'docker |Successfully copied |time=\")",
    )
});

/// What each calls itself.
static PROGRAM: LazyLock<Regex> = LazyLock::new(|| regex(r"\b(docker|twill)\b"));

fn regex(text: &str) -> Regex {
    Regex::new(text).expect("it is a pattern")
}

/// For the output of one case.
#[derive(Debug)]
pub(crate) struct Plain {
    written: BTreeSet<String>,
}

impl Plain {
    /// What the case itself writes stays.
    pub(crate) fn new(case: &Case) -> Self {
        let words =
            case.lines.iter().flat_map(|line| line.text.split([' ', '\'', '"', '=', ',', ';']));
        Self { written: words.map(str::to_owned).collect() }
    }

    /// One line's answer, evened out.
    pub(crate) fn said(&self, said: Said, view: View) -> Said {
        let out = match view {
            View::Text => self.text(&said.out),
            View::Keys => self.text(&keys(&said.out)),
        };
        Said { out, err: self.errors(&said.err), code: said.code }
    }

    fn text(&self, text: &str) -> String {
        let lines = text.lines().map(|line| self.nature(line).trim_end().to_owned() + "\n");
        lines.collect()
    }

    fn nature(&self, line: &str) -> String {
        NATURE.iter().fold(line.to_owned(), |line, (pattern, stands)| {
            let replaced = pattern.replace_all(&line, |found: &regex::Captures<'_>| {
                if self.written.contains(&found[0]) {
                    found[0].to_owned()
                } else {
                    (*stands).to_owned()
                }
            });
            replaced.into_owned()
        })
    }

    fn errors(&self, text: &str) -> String {
        let said = text.lines().take_while(|line| !line.starts_with("Usage:"));
        let said = said.filter(|line| !line.trim().is_empty() && !ADVICE.is_match(line));
        let line = |line: &str| {
            let said = SPEAKER.replace(line, "");
            let said = PROGRAM.replace_all(&said, "<program>");
            let said = said.trim_end().trim_end_matches('.').trim_end_matches(": unknown");
            // Large and small first letters have changed with Docker's releases.
            let mut letters = said.chars();
            let first = letters.next().map(|letter| letter.to_ascii_lowercase());
            let said: String = first.into_iter().chain(letters).collect();
            self.nature(&said) + "\n"
        };
        said.map(line).collect()
    }
}

/// The names in a JSON text, each with its kind; all elements of a list are one.
fn keys(text: &str) -> String {
    let values: Vec<Value> =
        serde_json::Deserializer::from_str(text).into_iter().map_while(Result::ok).collect();
    let mut found = BTreeSet::new();
    for value in &values {
        walk("", value, &mut found);
    }
    if found.is_empty() {
        text.to_owned()
    } else {
        found.into_iter().map(|key| key + "\n").collect()
    }
}

fn walk(at: &str, value: &Value, found: &mut BTreeSet<String>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(all) => {
            for one in all {
                walk(&format!("{at}[]"), one, found);
            }
            "list"
        }
        Value::Object(all) => {
            for (key, one) in all {
                walk(&format!("{at}.{key}"), one, found);
            }
            "object"
        }
    };
    found.insert(format!("{} {kind}", if at.is_empty() { "." } else { at }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases;

    #[test]
    fn what_differs_by_nature_is_evened_out() {
        let case =
            &cases::parse("== c\n$E run --mac-address 02:00:00:00:00:07 --ip 172.17.0.9 bb\n")
                .unwrap()[0];
        let plain = Plain::new(case);
        for (line, want) in [
            ("0123456789ab   bb   Up 3 seconds", "<short>   bb   Up <while>"),
            ("Exited (0) Less than a second ago", "Exited (0) <while> ago"),
            ("2026-01-02T03:04:05.123456789Z x", "<time> x"),
            ("2026-01-02 03:04:05 +0000 UTC", "<time>"),
            ("172.17.0.3 172.17.0.1 172.17.0.9", "<ip> 172.17.0.1 172.17.0.9"),
            ("02:42:ac:11:00:02 02:00:00:00:00:07", "<mac> 02:00:00:00:00:07"),
            ("a      b", "a   b"),
        ] {
            assert_eq!(plain.nature(line), want);
        }
    }

    #[test]
    fn of_an_error_its_message_counts() {
        let plain = Plain { written: BTreeSet::new() };
        let docker =
            "docker: Error response from daemon: No such thing.\nSee 'docker run --help'.\n";
        assert_eq!(plain.errors(docker), plain.errors("twill: No such thing\nhint: make one\n"));
    }

    #[test]
    fn keys_are_paths_with_kinds() {
        let want = ". object\n.a number\n.b list\n.b[] object\n.b[].c null\n";
        assert_eq!(keys(r#"{"a": 1, "b": [{"c": null}]}"#), want);
        assert_eq!(keys("no JSON"), "no JSON");
    }
}
