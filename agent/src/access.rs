//! How to reach etcd, from the flags and from what systemd keeps for this service.

use std::path::{Path, PathBuf};

use twill_store::{Discovery, Options, Password, Tls, User};

use crate::failure::Failure;
use crate::flags::Etcd;

/// What the flags say. Where they are silent, files of the same names count that systemd put into
/// `credentials`, `$CREDENTIALS_DIRECTORY`: `LoadCredential=etcd-password:/etc/twill/password`.
pub(crate) fn options(etcd: &Etcd, credentials: Option<&Path>) -> Result<Options, Failure> {
    let kept = |name: &str| credentials.map(|dir| dir.join(name)).filter(|path| path.is_file());
    let ca_file = etcd.cafile.clone().or_else(|| kept("etcd-cafile"));
    let (cert_file, key_file) = match (&etcd.certfile, &etcd.keyfile) {
        // Halves of two different pairs would not fit.
        (None, None) => (kept("etcd-certfile"), kept("etcd-keyfile")),
        given => (given.0.clone(), given.1.clone()),
    };
    let password = match (&etcd.password, &etcd.password_file) {
        (Some(secret), _) => Some(Password::Word(secret.reveal().to_owned())),
        (None, Some(path)) => Some(Password::File(path.clone())),
        (None, None) => kept("etcd-password").map(Password::File),
    };
    Ok(Options {
        endpoints: etcd.endpoints.0.clone(),
        discovery: etcd
            .discovery_srv
            .clone()
            .map(|domain| Discovery { domain, servers: Vec::new() }),
        prefix: etcd.prefix.clone(),
        tls: Tls { ca_file, cert_file, key_file },
        user: user(etcd.username.as_ref(), password)?,
        ..Options::default()
    })
}

fn user(name: Option<&String>, password: Option<Password>) -> Result<Option<User>, Failure> {
    match (name.cloned(), password) {
        (Some(name), Some(password)) => Ok(Some(User { name, password })),
        (None, None) => Ok(None),
        _half => {
            let text = "--etcd-username and a password are needed together";
            Err(Failure::usage(anyhow::Error::msg(text)).hint(
                "give both --etcd-username and --etcd-password-file, or neither; the credential \
                 etcd-password of a unit is a password as well",
            ))
        }
    }
}

/// Where systemd put this service's credentials, if it has any.
pub(crate) fn credentials() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::Flags;

    #[test]
    fn what_the_flags_leave_open_comes_from_the_credentials() {
        let credentials = tempfile::tempdir().unwrap();
        for name in ["etcd-password", "etcd-cafile", "etcd-certfile", "etcd-keyfile"] {
            std::fs::write(credentials.path().join(name), "x").unwrap();
        }
        let kept = |name: &str| Some(credentials.path().join(name));
        let user = ["--etcd-username", "host"];

        let all = options(&flags(&user), Some(credentials.path())).unwrap();
        assert_eq!(all.tls.ca_file, kept("etcd-cafile"));
        assert_eq!(all.tls.cert_file, kept("etcd-certfile"));
        assert_eq!(all.tls.key_file, kept("etcd-keyfile"));
        assert_eq!(file(&all), kept("etcd-password"));

        let mut given = user.to_vec();
        given.extend([
            "--etcd-cafile",
            "/ca",
            "--etcd-certfile",
            "/cert",
            "--etcd-keyfile",
            "/key",
        ]);
        given.extend(["--etcd-password-file", "/password"]);
        let given = options(&flags(&given), Some(credentials.path())).unwrap();
        assert_eq!(given.tls.ca_file, Some("/ca".into()));
        assert_eq!(given.tls.cert_file, Some("/cert".into()));
        assert_eq!(given.tls.key_file, Some("/key".into()));
        assert_eq!(file(&given), Some("/password".into()));

        let none = options(&flags(&[]), None).unwrap();
        assert!(none.tls.ca_file.is_none() && none.user.is_none());
        let half = options(&flags(&[]), Some(credentials.path())).unwrap_err();
        assert!(half.line().contains("needed together"), "{half:?}");
    }

    #[test]
    fn a_password_is_not_in_anything_that_can_be_printed() {
        let given = ["--etcd-username", "host", "--etcd-password", "geheim"];
        let options = options(&flags(&given), None).unwrap();
        assert!(!format!("{options:?}").contains("geheim"));
        assert!(!format!("{:?}", twill_store::Etcd::new(&options).unwrap()).contains("geheim"));
    }

    fn file(options: &Options) -> Option<PathBuf> {
        match &options.user.as_ref()?.password {
            Password::File(path) => Some(path.clone()),
            Password::Word(_) => None,
        }
    }

    fn flags(arguments: &[&str]) -> Etcd {
        let arguments = ["twilld"].iter().chain(arguments).map(Into::into);
        Flags::parse_from(arguments, |_name| None).unwrap().flags.etcd
    }
}
