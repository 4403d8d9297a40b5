//! Options out of the environment: our own variable, else the agent's, else flanneld's.

use std::ffi::OsString;

use clap::builder::Resettable;
use clap::{Arg, Command};

/// Looks a variable up.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

const PROGRAMS: [&str; 3] = ["TWILLCTL_", "TWILLD_", "FLANNELD_"];
/// Options that no agent has.
const OWN: [&str; 3] = ["network_name", "output", "timeout"];

/// Gives every option of `command` and of its subcommands that may come from the environment the
/// variable that counts.
pub(crate) fn attach(command: Command, lookup: Lookup<'_>) -> Command {
    let attach_one = |arg: Arg| {
        let name = arg.get_id().as_str().to_owned();
        let programs = if OWN.contains(&name.as_str()) { &PROGRAMS[..1] } else { &PROGRAMS[..] };
        if !(name.starts_with("etcd_") || name == "socket" || OWN.contains(&name.as_str())) {
            return arg;
        }
        match variable(programs, &name, lookup) {
            Some(variable) => arg.env(variable).hide_env_values(true),
            // Set and empty is as good as not set, to flanneld and to us.
            None => arg.env(Resettable::Reset),
        }
    };
    command.mut_args(attach_one).mut_subcommands(|subcommand| attach(subcommand, lookup))
}

/// The first variable that says something; ours when none does, for `--help` to name.
fn variable(programs: &[&str], option: &str, lookup: Lookup<'_>) -> Option<String> {
    let named = |program: &&str| format!("{program}{}", option.to_uppercase());
    let says = |name: &String| lookup(name).is_some_and(|value| !value.is_empty());
    programs.iter().map(named).find(says).or_else(|| {
        let own = named(&PROGRAMS[0]);
        lookup(&own).is_none().then_some(own)
    })
}

/// The password itself, for those who keep it in the environment as flanneld does.
pub(crate) fn password(lookup: Lookup<'_>) -> Option<String> {
    variable(&PROGRAMS, "etcd_password", lookup).and_then(|name| lookup(&name)?.into_string().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], Option<&'a str>);

    #[test]
    fn the_nearest_variable_that_says_something_counts() {
        let rows: [Row<'_>; 5] = [
            ("nothing set: --help names ours", &[], Some("TWILLCTL_ETCD_PREFIX")),
            (
                "ours before the agent's",
                &[("TWILLD_ETCD_PREFIX", "/b"), ("TWILLCTL_ETCD_PREFIX", "/a")],
                Some("TWILLCTL_ETCD_PREFIX"),
            ),
            (
                "the agent's before flanneld's",
                &[("FLANNELD_ETCD_PREFIX", "/c"), ("TWILLD_ETCD_PREFIX", "/b")],
                Some("TWILLD_ETCD_PREFIX"),
            ),
            (
                "an empty one says nothing",
                &[("TWILLCTL_ETCD_PREFIX", ""), ("FLANNELD_ETCD_PREFIX", "/c")],
                Some("FLANNELD_ETCD_PREFIX"),
            ),
            ("only an empty one", &[("TWILLCTL_ETCD_PREFIX", "")], None),
        ];
        for (name, set, want) in rows {
            let found = variable(&PROGRAMS, "etcd_prefix", &lookup_in(set));
            assert_eq!(found.as_deref(), want, "{name}");
        }
    }

    #[test]
    fn the_password_may_stand_in_the_environment() {
        assert_eq!(password(&lookup_in(&[])), None);
        let set = [("FLANNELD_ETCD_PASSWORD", "secret")];
        assert_eq!(password(&lookup_in(&set)).as_deref(), Some("secret"));
    }

    fn lookup_in<'a>(set: &'a [(&str, &str)]) -> impl Fn(&str) -> Option<OsString> + 'a {
        |name| set.iter().find(|(known, _value)| *known == name).map(|(_name, value)| value.into())
    }
}
