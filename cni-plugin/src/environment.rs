//! What a runtime says in the environment: the verb, and which container.

use std::ffi::OsString;
use std::path::PathBuf;

use twill_endpoint::Interface;

use crate::error::{Code, Failure};

/// The variables that the specification names ("Parameters").
#[derive(Clone, Debug)]
pub(crate) struct Environment {
    command: Option<OsString>,
    container: Option<OsString>,
    netns: Option<OsString>,
    interface: Option<OsString>,
    args: Option<OsString>,
}

/// What a runtime may ask for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verb {
    Add,
    Del,
    Check,
    Status,
    Gc,
    Version,
}

/// The arguments that we know of those that a user gave to the runtime.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Args {
    pub(crate) ip: Option<String>,
    pub(crate) mac: Option<String>,
}

impl Environment {
    /// An empty variable is as good as none: runtimes set both.
    pub(crate) fn new(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let variable = |name| variable(name).filter(|value| !value.is_empty());
        Self {
            command: variable("CNI_COMMAND"),
            container: variable("CNI_CONTAINERID"),
            netns: variable("CNI_NETNS"),
            interface: variable("CNI_IFNAME"),
            args: variable("CNI_ARGS"),
        }
    }

    pub(crate) fn verb(&self) -> Result<Verb, Failure> {
        let command = required(self.command.as_ref(), "CNI_COMMAND")?;
        Ok(match command {
            "ADD" => Verb::Add,
            "DEL" => Verb::Del,
            "CHECK" => Verb::Check,
            "STATUS" => Verb::Status,
            "GC" => Verb::Gc,
            "VERSION" => Verb::Version,
            other => {
                let known = "ADD, DEL, CHECK, STATUS, GC, VERSION";
                let message = format!("CNI_COMMAND is `{other}`, which is none of {known}");
                return Err(wrong(message).hint("verbs are written in capitals"));
            }
        })
    }

    pub(crate) fn container(&self) -> Result<&str, Failure> {
        let id = required(self.container.as_ref(), "CNI_CONTAINERID")?;
        if !is_identifier(id) {
            let message =
                format!("CNI_CONTAINERID is `{id}`, which cannot be the id of a container");
            let hint = "an id is a letter or a digit, then letters, digits, `_`, `.` and `-`";
            return Err(wrong(message).hint(hint));
        }
        Ok(id)
    }

    pub(crate) fn interface(&self) -> Result<Interface, Failure> {
        let name = required(self.interface.as_ref(), "CNI_IFNAME")?;
        let hint = "a name has 1 to 15 bytes, without `/`, `:` and white space";
        name.parse().map_err(|error| wrong(format!("CNI_IFNAME: {error}")).hint(hint))
    }

    pub(crate) fn netns(&self) -> Result<PathBuf, Failure> {
        self.netns.as_ref().map(PathBuf::from).ok_or_else(|| missing("CNI_NETNS"))
    }

    /// `K=V;K=V`. Arguments for other plugins are passed over.
    pub(crate) fn args(&self) -> Result<Args, Failure> {
        let mut args = Args::default();
        let Some(text) = &self.args else { return Ok(args) };
        for pair in utf8(text, "CNI_ARGS")?.split(';').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| {
                let message = format!("CNI_ARGS holds `{pair}`, which has no `=`");
                wrong(message).hint("it is written `KEY=VALUE;KEY=VALUE`")
            })?;
            match key {
                "IP" => args.ip = Some(value.to_owned()),
                "MAC" => args.mac = Some(value.to_owned()),
                _for_others => {}
            }
        }
        Ok(args)
    }
}

/// A letter or digit, then letters, digits, `_`, `.` and `-`: the ids of containers and the names
/// of networks.
pub(crate) fn is_identifier(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && text.bytes().all(allowed)
}

fn required<'a>(value: Option<&'a OsString>, name: &str) -> Result<&'a str, Failure> {
    utf8(value.ok_or_else(|| missing(name))?, name)
}

fn missing(name: &str) -> Failure {
    wrong(format!("{name} is not set"))
        .hint("runtimes set it for each call of this kind; by hand: `twill-cni --help`")
}

fn wrong(message: String) -> Failure {
    Failure::new(Code::InvalidEnvironment, message)
}

fn utf8<'a>(value: &'a OsString, name: &str) -> Result<&'a str, Failure> {
    value.to_str().ok_or_else(|| {
        wrong(format!("{name} is not UTF-8")).hint("its value has to be text: set it again")
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn args() {
        let parse = |text: &str| Environment::new(|_name| Some(text.into())).args();
        let args =
            parse("IgnoreUnknown=1;K8S_POD_NAME=x;MAC=02:00:00:00:00:01;IP=10.5.2.7;").unwrap();
        assert_eq!(args.ip.as_deref(), Some("10.5.2.7"));
        assert_eq!(args.mac.as_deref(), Some("02:00:00:00:00:01"));
        assert_eq!(parse("").unwrap(), Args::default());
        assert_eq!(parse("IP").unwrap_err().code, Code::InvalidEnvironment);
    }

    #[test]
    fn identifiers() {
        for good in ["a", "0", "4f1e", "a_b.c-d"] {
            assert!(is_identifier(good), "{good}");
        }
        for bad in ["", "-a", ".a", "_a", "a b", "a/b", "ä"] {
            assert!(!is_identifier(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_variable_are_answered(bytes in any::<Vec<u8>>()) {
            let environment = Environment::new(|_name| Some(OsString::from_vec(bytes.clone())));
            let _verb = environment.verb();
            let _container = environment.container();
            let _interface = environment.interface();
            let _netns = environment.netns();
            let _args = environment.args();
        }
    }
}
