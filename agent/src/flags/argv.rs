//! Takes the password out of the process list, for whoever gives it on the command line.

use std::convert::Infallible;
use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use clap::CommandFactory;

use super::{Flags, environment};

/// Where the password is for whoever does not want it to be seen: only root reads another process's
/// environment.
const VARIABLE: &str = "TWILLD_ETCD_PASSWORD";
const FLAG: &str = "--etcd-password";

/// Begins this process anew without the password among its arguments, if it is there. Whoever looked
/// in between has seen it. Returns only if there is none, or with the reason why that cannot be done.
pub(crate) fn hide_password() -> io::Result<()> {
    let Some((arguments, password)) = without_password(env::args_os()) else { return Ok(()) };
    tracing::warn!(
        hint = "give --etcd-password-file instead, or a credential of the unit",
        "the password for etcd is on the command line, where others may have seen it: hiding it"
    );
    begin_anew(&arguments, &password).map(|never| match never {})
}

/// Process number, files and signals stay; systemd notices nothing.
fn begin_anew(arguments: &[OsString], password: &OsStr) -> io::Result<Infallible> {
    let (name, rest) = arguments.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    // By its path, which names it in the process list.
    #[expect(clippy::disallowed_methods, reason = "it is no child, but this very process")]
    let mut twilld = Command::new(env::current_exe()?);
    Err(twilld.arg0(name).args(rest).env(VARIABLE, password).exec())
}

/// Arguments that clap takes, without the password, and the password: the last one counts.
fn without_password(
    arguments: impl IntoIterator<Item = OsString>,
) -> Option<(Vec<OsString>, OsString)> {
    let mut arguments = environment::two_dashes(&Flags::command(), arguments).into_iter();
    let (mut rest, mut password) = (Vec::new(), None);
    while let Some(argument) = arguments.next() {
        if argument == FLAG {
            password = arguments.next();
            continue;
        }
        let value = argument.to_str().and_then(|text| text.strip_prefix(FLAG)?.strip_prefix('='));
        match value {
            Some(value) => password = Some(value.into()),
            None => rest.push(argument),
        }
    }
    password.map(|password| (rest, password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_taken_out_in_every_form_and_nothing_else_is() {
        let rows: [(&[&str], &[&str], Option<&str>); 7] = [
            (&["--v", "2", "--etcd-username=a"], &["--v", "2", "--etcd-username=a"], None),
            (&["--etcd-password-file", "/p"], &["--etcd-password-file", "/p"], None),
            (&["--etcd-password", "x", "--v=2"], &["--v=2"], Some("x")),
            (&["-etcd-password", "x", "-ip-masq"], &["--ip-masq"], Some("x")),
            (&["--etcd-password=x=y"], &[], Some("x=y")),
            (&["-etcd-password="], &[], Some("")),
            (&["--etcd-password=x", "--v", "--etcd-password", "y"], &["--v"], Some("y")),
        ];
        for (given, rest, password) in rows {
            let all = ["twilld"].iter().chain(given).map(OsString::from);
            let found = without_password(all);
            let wanted = password.map(|password| {
                let rest = ["twilld"].iter().chain(rest).map(OsString::from).collect();
                (rest, OsString::from(password))
            });
            assert_eq!(found, wanted, "{given:?}");
        }
    }
}
