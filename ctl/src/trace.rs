//! `twillctl trace`: the way between two containers, where it breaks, and why.

use std::ffi::OsString;
use std::time::Duration;

use hyper::StatusCode;
use twill_core::trace::{Half, Outcome, Stage, Step, Trace, Verdict};

use crate::agent;
use crate::args;
use crate::args::Output;
use crate::failure::{Failure, Kind};
use crate::report::{self, Report};
use crate::table;
use crate::twilld::{self, Refused};

/// The exit code when it breaks on this host.
const BROKEN_HERE: u8 = 6;
/// When nothing is broken here, nobody answers, and the other host could not be asked.
const UNSEEN: u8 = 7;
/// When it breaks on the other host, or between the two.
const BROKEN_THERE: u8 = 8;

/// The other host may be off, and echoes are waited for.
const LOOKING: Duration = Duration::from_secs(40);

/// Asks the agent, or looks without one if there is none; renders; judges.
pub(crate) async fn walk(
    args: &args::Trace,
    (output, timeout): (Output, Duration),
) -> Result<Report, Failure> {
    let (trace, note) = if args.by_itself {
        (without_agent(args)?, None)
    } else {
        match with_agent(args, timeout.max(LOOKING)).await? {
            Ok(trace) => (trace, None),
            Err(why) => {
                let note = format!("{why}; this is by what it left on disk");
                (without_agent(args)?, Some(note))
            }
        }
    };
    let data = match output {
        Output::Json => report::json(&trace),
        Output::Table => text(&trace),
    };
    let notes = note.into_iter().collect();
    Ok(Report { data, notes, code: code(trace.verdict) })
}

fn code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Whole => 0,
        Verdict::BrokenHere => BROKEN_HERE,
        Verdict::Unseen => UNSEEN,
        Verdict::BrokenThere | Verdict::BrokenBetween => BROKEN_THERE,
    }
}

/// Why the agent cannot be asked, if it cannot.
async fn with_agent(
    args: &args::Trace,
    timeout: Duration,
) -> Result<Result<Trace, String>, Failure> {
    let socket = &args.agent.socket;
    if !agent::responds(socket).await {
        return Ok(Err("the agent of this host does not answer".to_owned()));
    }
    let port = args.peer_port.map(|port| format!("&port={port}")).unwrap_or_default();
    let (from, to) = (escaped(&args.from), escaped(&args.to));
    let path = format!("/trace?from={from}&to={to}{port}");
    let answer = match tokio::time::timeout(timeout, agent::ask(socket, &path)).await {
        Ok(answer) => answer?,
        Err(_elapsed) => {
            return Ok(Err("the agent of this host does not answer in time".to_owned()));
        }
    };
    if answer.status == StatusCode::OK {
        return Ok(Ok(agent::read(socket, &answer)?));
    }
    let body = String::from_utf8_lossy(&answer.body);
    let (what, hint) = body.split_once("\nhint: ").unwrap_or((&body, ""));
    let kind = match answer.status {
        StatusCode::NOT_FOUND => Kind::NotFound,
        StatusCode::SERVICE_UNAVAILABLE => Kind::NotReady,
        _other => Kind::Failed,
    };
    Err(Failure::new(kind, what.trim()).hint(hint.trim()))
}

/// Names have no character that means something in a URL; whatever has is no name.
fn escaped(word: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._:".contains(byte);
    let byte = |byte: u8| {
        if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    word.bytes().map(byte).collect()
}

fn without_agent(args: &args::Trace) -> Result<Trace, Failure> {
    let mut options: Vec<OsString> = Vec::new();
    if let Some(port) = args.peer_port {
        options.push(format!("--peer-port={port}").into());
    }
    options.extend(["--".into(), (&args.from).into(), (&args.to).into()]);
    match twilld::ask("trace", &options)? {
        Ok(document) => serde_json::from_slice(&document).map_err(|error| {
            let message = format!("twilld answers in another form: {error}");
            Failure::new(Kind::Failed, message).hint("are twilld and twillctl of one version?")
        }),
        Err(Refused { code, what, hint }) => {
            let kind = if code == Some(4) { Kind::NotFound } else { Kind::Failed };
            Err(Failure::new(kind, what).hint(hint))
        }
    }
}

/// A line in all, then each step of each host, and the way out below what needs one.
fn text(trace: &Trace) -> String {
    let mut rows = Vec::new();
    rows.extend(trace.there.steps.iter().flat_map(|step| lines(&trace.there.host, step)));
    let back = trace.back.iter();
    rows.extend(back.flat_map(|half| half.steps.iter().flat_map(|step| lines(&half.host, step))));
    rows.extend(trace.probes.iter().flat_map(|step| lines("", step)));
    let headline = table::printable(&headline(trace));
    format!("{headline}\n\n{}", table::columns(["", "HOST", "STEP", "FOUND"], rows))
}

fn headline(trace: &Trace) -> String {
    let ends = format!("{} to {}", trace.from.asked, trace.to.asked);
    if let Some((host, step)) = trace.broken() {
        return format!("{ends}: broken at {} on {host}: {}", step.stage.name(), step.what);
    }
    match trace.verdict {
        Verdict::BrokenHere | Verdict::BrokenThere | Verdict::BrokenBetween => {
            let broken = |step: &&Step| step.outcome == Outcome::Breaks;
            let step = trace.probes.iter().find(broken);
            let what = step.map_or("packets are lost", |step| step.what.as_str());
            format!("{ends}: broken between the hosts: {what}")
        }
        Verdict::Unseen => {
            let of =
                |half: &Half| half.steps.iter().find(|step| step.stage == Stage::Peer).cloned();
            let why = of(&trace.there).map(|step| format!(": {}", step.what)).unwrap_or_default();
            format!("{ends}: no answer, and nothing broken on {}{why}", trace.there.host)
        }
        Verdict::Whole => {
            let all = trace.there.steps.iter().chain(trace.back.iter().flat_map(|it| &it.steps));
            let doubts = all.chain(&trace.probes).filter(|step| step.outcome != Outcome::Passes);
            match doubts.count() {
                0 => format!("{ends}: whole"),
                1 => format!("{ends}: whole, with one doubt"),
                doubts => format!("{ends}: whole, with {doubts} doubts"),
            }
        }
    }
}

fn lines(host: &str, step: &Step) -> Vec<[String; 4]> {
    let outcome = match step.outcome {
        Outcome::Passes => "ok",
        Outcome::Unseen => "unseen",
        Outcome::Doubtful => "warn",
        Outcome::Breaks => "FAIL",
    };
    let name = step.stage.name().to_owned();
    let row = [outcome.to_owned(), host.to_owned(), name, step.what.clone()];
    let hint = step
        .hint
        .iter()
        .map(|hint| [String::new(), String::new(), String::new(), format!("hint: {hint}")]);
    std::iter::once(row).chain(hint).collect()
}

#[cfg(test)]
mod tests {
    use twill_core::trace::{End, Rest};

    use super::*;
    use crate::golden;

    fn trace(break_it: impl FnOnce(&mut Half, &mut Rest)) -> Trace {
        let end = |asked: &str, last| End {
            asked: asked.to_owned(),
            address: Some([10, 88, last, 2].into()),
        };
        let half = |host: &str| Half {
            host: host.to_owned(),
            steps: vec![
                Step::passes(Stage::Container, "web has 10.88.1.2, on twill0 by tw0"),
                Step::passes(Stage::Route, "10.88.2.2 goes via 10.88.2.0 on flannel.1"),
            ],
        };
        let mut there = half("node1");
        let probes = vec![Step::passes(Stage::Answer, "10.88.2.2 answers to web in 0.2 ms")];
        let mut rest = Rest { back: Some(half("node2")), probes, alone: false };
        break_it(&mut there, &mut rest);
        Trace::new((end("web", 1), end("10.88.2.2", 2)), there, rest)
    }

    #[test]
    fn a_way_that_is_whole() {
        let trace = trace(|_, _| {});
        golden::check("trace-whole.txt", &text(&trace));
        golden::check("trace-whole.json", &report::json(&trace));
        assert_eq!(code(trace.verdict), 0);
    }

    #[test]
    fn where_it_breaks_comes_first() {
        let fdb = Step::breaks(Stage::Fdb, "nobody says where frames go", "start twilld");
        let here = trace(|there, _| there.steps.push(fdb.clone()));
        golden::check("trace-here.txt", &text(&here));
        assert_eq!(code(here.verdict), 6);
        let there = trace(|_, rest| {
            rest.probes = vec![Step::breaks(Stage::Answer, "10.88.2.2 does not answer", "see")];
            rest.back.as_mut().unwrap().steps.push(fdb);
        });
        golden::check("trace-there.txt", &text(&there));
        assert_eq!(code(there.verdict), 8);
        let unseen = trace(|half, rest| {
            half.steps.push(Step::unseen(Stage::Peer, "the agent is silent", "start it"));
            rest.probes = vec![Step::breaks(Stage::Answer, "10.88.2.2 does not answer", "see")];
            rest.back = None;
        });
        golden::check("trace-unseen.txt", &text(&unseen));
        assert_eq!(code(unseen.verdict), 7);
    }

    #[test]
    fn another_hosts_words_steer_no_terminal() {
        let evil = Step::breaks(Stage::Fdb, "\u{1b}[2Jnothing", "\u{1b}]0;x\u{7}");
        let trace = trace(|_, rest| {
            let back = rest.back.as_mut().unwrap();
            back.host = "\u{1b}c".to_owned();
            back.steps.push(evil);
        });
        let text = text(&trace);
        assert!(!text.contains(|letter: char| letter.is_control() && letter != '\n'), "{text:?}");
    }

    #[test]
    fn what_is_asked_is_one_word_of_a_url() {
        for (word, wanted) in
            [("web-1", "web-1"), ("fd00::1", "fd00::1"), ("a&b=c /", "a%26b%3Dc%20%2F")]
        {
            assert_eq!(escaped(word), wanted);
        }
    }
}
