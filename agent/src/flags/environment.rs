//! Go's way of writing flags, and variables that stand in for flags.

use std::ffi::{OsStr, OsString};

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

/// What the environment adds to the command line.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// As `--name=value`.
    pub(super) arguments: Vec<OsString>,
    /// Flannel's variables among them.
    pub(super) inherited: Vec<String>,
}

/// Go's `-etcd-prefix` becomes `--etcd-prefix`; everything else, and all behind `--`, stays.
pub(super) fn two_dashes(
    command: &Command,
    arguments: impl IntoIterator<Item = OsString>,
) -> Vec<OsString> {
    let known = |name: &str| {
        let mut longs = command.get_arguments().filter_map(Arg::get_long);
        longs.any(|long| long == name) || ["help", "version"].contains(&name)
    };
    let mut rest = false;
    let rewrite = |argument: OsString| {
        rest |= argument == "--";
        let name = argument.to_str().and_then(|text| text.strip_prefix('-'));
        match name.and_then(|text| text.split('=').next()) {
            Some(name) if !rest && known(name) => {
                [OsStr::new("-"), &argument].into_iter().collect()
            }
            _other => argument,
        }
    };
    arguments.into_iter().map(rewrite).collect()
}

/// The variables for all flags that `given` does not have. An empty variable is none. A variable
/// that its flag would refuse is an error that names the variable.
pub(super) fn missing_flags(
    command: &Command,
    given: &ArgMatches,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Found, clap::Error> {
    let mut found = Found::default();
    for flag in command.get_arguments() {
        let (id, Some(long)) = (flag.get_id().as_str(), flag.get_long()) else { continue };
        // clap has not added these two at this point, but might one day.
        let asked = given.try_contains_id(id).is_ok()
            && given.value_source(id) == Some(ValueSource::CommandLine);
        if asked || ["help", "version"].contains(&long) {
            continue;
        }
        let suffix = long.to_uppercase().replace('-', "_");
        let names = [format!("TWILLD_{suffix}"), format!("FLANNELD_{suffix}")];
        let set = names.into_iter().find_map(|name| {
            variable(&name).filter(|value| !value.is_empty()).map(|value| (name, value))
        });
        let Some((name, value)) = set else { continue };
        let argument: OsString =
            [OsStr::new("--"), OsStr::new(long), OsStr::new("="), &value].into_iter().collect();
        check(command, &name, &argument)?;
        found.arguments.push(argument);
        if name.starts_with("FLANNELD_") {
            found.inherited.push(name);
        }
    }
    Ok(found)
}

/// Alone, so that the error can say which variable it was. Flags that want or exclude each other
/// are judged later, all together.
fn check(command: &Command, name: &str, argument: &OsStr) -> Result<(), clap::Error> {
    let alone = [OsStr::new("twilld"), argument];
    match command.clone().try_get_matches_from(alone) {
        Err(error) if error.kind() == ErrorKind::MissingRequiredArgument => Ok(()),
        Ok(_fine) => Ok(()),
        Err(error) => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            let line = line.strip_prefix("error: ").unwrap_or(line);
            Err(command.clone().error(error.kind(), format!("variable {name}: {line}")))
        }
    }
}
