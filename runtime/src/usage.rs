//! What is wrong with a command line, in the words and with the codes that Docker's users know.

use std::error::Error as _;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};

/// Docker's code for a flag that is not there, or cannot have that value.
const BAD_FLAG: u8 = 125;

/// A line for what is wrong, a line for the way out, and how it ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Wrong {
    pub(crate) message: String,
    pub(crate) hint: String,
    pub(crate) code: u8,
}

/// `None` for what is nobody's mistake, or is said best as it is.
pub(crate) fn explain(error: &clap::Error, root: &Command, words: &[OsString]) -> Option<Wrong> {
    let (path, command) = subject(root, words);
    let argument = text(error, ContextKind::InvalidArg);
    let value = text(error, ContextKind::InvalidValue);
    let flag = argument.as_deref().filter(|it| it.starts_with('-'));
    let (message, code) = match (error.kind(), flag) {
        (ErrorKind::UnknownArgument, Some(flag)) => (unknown(flag), BAD_FLAG),
        (
            ErrorKind::UnknownArgument
            | ErrorKind::MissingRequiredArgument
            | ErrorKind::TooFewValues,
            None,
        ) => (count(&path, command)?, 1),
        (ErrorKind::InvalidSubcommand, _) => {
            let wanted = text(error, ContextKind::InvalidSubcommand)?;
            let what = if path == root.get_name() { root.get_name() } else { &path };
            (format!("'{wanted}' is not a {what} command"), 1)
        }
        (ErrorKind::InvalidValue, Some(flag)) if value.as_deref() == Some("") => {
            (format!("flag needs an argument: {}", name(flag)), BAD_FLAG)
        }
        (ErrorKind::InvalidValue | ErrorKind::ValueValidation | ErrorKind::TooManyValues, _) => {
            refusal(error, flag, (argument.as_deref()?, &value?), command)
        }
        _ => return None,
    };
    let meant =
        text(error, ContextKind::SuggestedArg).or(text(error, ContextKind::SuggestedSubcommand));
    let meant = meant.map_or_else(String::new, |meant| format!("did you mean `{meant}`? "));
    Some(Wrong { message, hint: format!("{meant}`{path} --help` explains it"), code })
}

/// A value that cannot be. Docker looks at some only when it makes the container.
fn refusal(
    error: &clap::Error,
    flag: Option<&str>,
    (argument, value): (&str, &str),
    command: &Command,
) -> (String, u8) {
    let reason = reason(error, value);
    let Some(flag) = flag else {
        return (format!("invalid argument {value:?} for {argument}: {reason}"), 1);
    };
    let bare = name(flag).trim_start_matches('-');
    let late = LATE.contains(&bare) && !ITSELF.iter().any(|text| reason.contains(text));
    let late = late || reason.starts_with("Range of CPUs");
    let early = EARLY.iter().any(|text| reason.contains(text));
    match (late, early || command.get_name() == "run") {
        (true, true) => (reason, BAD_FLAG),
        (true, false) => (reason, 1),
        _ => {
            let flag = both(flag, command);
            (format!("invalid argument {value:?} for {flag:?} flag: {reason}"), BAD_FLAG)
        }
    }
}

/// Flags whose values Docker's command line takes as they are.
const LATE: [&str; 21] = [
    "cap-add",
    "cap-drop",
    "cpuset-cpus",
    "cpuset-mems",
    "device",
    "expose",
    "format",
    "health-retries",
    "ipc",
    "mac-address",
    "mount",
    "network",
    "pid",
    "publish",
    "restart",
    "signal",
    "stop-signal",
    "tmpfs",
    "type",
    "uts",
    "volume",
];

/// And of those values, what it refuses with the flag's name.
const ITSELF: [&str; 3] = ["target is required", "unexpected key", "must be a key=value pair"];

/// And of those values, what it refuses before it asks anybody.
const EARLY: [&str; 8] = [
    "maximum retry count must be",
    "health-retries",
    "invalid range format",
    "invalid ranges",
    "ontainerPort",
    "ostPort",
    "invalid proto",
    "invalid IP address",
];

/// What Docker takes for true and false.
pub(crate) fn truth(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
    }
}

/// The command that is meant, by its words and itself.
fn subject<'a>(root: &'a Command, words: &[OsString]) -> (String, &'a Command) {
    let (mut path, mut command) = (root.get_name().to_owned(), root);
    let mut words = words.iter().skip(1).filter_map(|word| word.to_str());
    while let Some(word) = words.next() {
        if let Some(flag) = word.strip_prefix("--") {
            let takes =
                |arg: &&Arg| arg.get_long() == Some(flag) && arg.get_action().takes_values();
            if command.get_arguments().any(|arg| takes(&arg)) {
                words.next();
            }
            continue;
        }
        let Some(found) = command.find_subcommand(word) else { break };
        (path, command) = (format!("{path} {}", found.get_name()), found);
    }
    (path, command)
}

fn text(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(all) if kind != ContextKind::InvalidArg => all.first().cloned(),
        _ => None,
    }
}

fn unknown(flag: &str) -> String {
    match (flag.strip_prefix("--"), flag.chars().nth(1)) {
        (None, Some(letter)) => format!("unknown shorthand flag: '{letter}' in {flag}"),
        _ => format!("unknown flag: {}", flag.split('=').next().unwrap_or(flag)),
    }
}

/// Without the name of its value.
fn name(flag: &str) -> &str {
    flag.split([' ', '=', '[']).next().unwrap_or(flag)
}

/// As Docker names it: with its letter, if it has one.
fn both(flag: &str, command: &Command) -> String {
    let flag = name(flag);
    let long = flag.strip_prefix("--");
    let mut same = command.get_arguments().filter(|arg| long.is_some() && arg.get_long() == long);
    match same.find_map(Arg::get_short) {
        Some(letter) => format!("-{letter}, {flag}"),
        None => flag.to_owned(),
    }
}

fn reason(error: &clap::Error, value: &str) -> String {
    match (error.source(), error.get(ContextKind::ValidValue)) {
        (Some(source), _) if source.is::<std::num::ParseIntError>() => {
            format!("strconv.ParseInt: parsing {value:?}: invalid syntax")
        }
        (Some(source), _) => source.to_string(),
        (None, Some(ContextValue::Strings(all))) => format!("must be one of {}", all.join(", ")),
        _ => "it takes true or false".into(),
    }
}

/// How many words a command wants besides its flags.
fn count(path: &str, command: &Command) -> Option<String> {
    let (mut least, mut most) = (0_usize, Some(0_usize));
    for arg in command.get_positionals() {
        let range = arg.get_num_args().unwrap_or(clap::builder::ValueRange::SINGLE);
        let many = range.max_values() > 1 || matches!(arg.get_action(), clap::ArgAction::Append);
        least += if arg.is_required_set() { range.min_values().max(1) } else { 0 };
        most = most.filter(|_| !many).map(|most| most + 1);
    }
    let plural = |number: usize| if number == 1 { "argument" } else { "arguments" };
    let wants = match (least, most) {
        (0, Some(0)) => "accepts no arguments".to_owned(),
        (least, Some(most)) if least == most => {
            format!("requires exactly {least} {}", plural(least))
        }
        (0, Some(most)) => format!("requires at most {most} {}", plural(most)),
        (least, Some(most)) => format!("requires at least {least} and at most {most} arguments"),
        (0, None) => return None,
        (least, None) => format!("requires at least {least} {}", plural(least)),
    };
    Some(format!("{path:?} {wants}"))
}
