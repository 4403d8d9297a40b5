//! How to reach etcd, from the command line and the environment.

use std::ffi::OsString;
use std::time::Duration;

use twill_core::ids::NetworkName;
use twill_store::{self as store, Discovery, Options, Password, Tls, User};

use crate::args::Etcd;
use crate::environment;
use crate::failure::{Failure, Kind};

/// The same of one network of several.
pub(crate) fn of_network(etcd: &Etcd, network: Option<&NetworkName>) -> Etcd {
    let mut etcd = etcd.clone();
    if let Some(name) = network {
        etcd.prefix = format!("{}/{name}", etcd.prefix.trim_end_matches('/'));
    }
    etcd
}

/// The store behind the options, each of whose endpoints gets its share of the time.
pub(crate) fn connect(etcd: &Etcd, timeout: Duration) -> Result<store::Etcd, Failure> {
    let lookup = |name: &str| -> Option<OsString> { std::env::var_os(name) };
    let options = Options {
        endpoints: etcd.endpoints.clone(),
        discovery: etcd
            .discovery_srv
            .clone()
            .map(|domain| Discovery { domain, servers: Vec::new() }),
        prefix: etcd.prefix.clone(),
        tls: Tls {
            ca_file: etcd.cafile.clone(),
            cert_file: etcd.certfile.clone(),
            key_file: etcd.keyfile.clone(),
        },
        user: user(etcd, &lookup)?,
        // DNS has its share as well, and most clusters have three members.
        deadline: share(timeout, etcd.discovery_srv.as_ref().map_or(etcd.endpoints.len(), |_| 4)),
        ..Options::default()
    };
    store::Etcd::new(&options).map_err(|error| store_failure(&error))
}

/// Every endpoint gets its turn, and the last one's silence is told before the whole time is over.
fn share(timeout: Duration, endpoints: usize) -> Duration {
    timeout.mul_f64(0.9) / u32::try_from(endpoints.max(1)).unwrap_or(u32::MAX)
}

fn user(etcd: &Etcd, lookup: environment::Lookup<'_>) -> Result<Option<User>, Failure> {
    let Some(name) = etcd.username.clone().filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let file = etcd.password_file.clone().map(Password::File);
    let password = file.or_else(|| environment::password(lookup).map(Password::Word));
    let password = password.ok_or_else(|| {
        Failure::new(Kind::Usage, format!("there is no password for the etcd user {name}"))
            .hint("give --etcd-password-file FILE, or set TWILLCTL_ETCD_PASSWORD")
    })?;
    Ok(Some(User { name, password }))
}

/// What the store could not do, with the store's own way out.
pub(crate) fn store_failure(error: &store::Error) -> Failure {
    let kind = match error {
        store::Error::Unreachable { .. } => Kind::Unreachable,
        store::Error::HalfIdentity { .. }
        | store::Error::Domain { .. }
        | store::Error::Endpoint { .. }
        | store::Error::NoEndpoint => Kind::Usage,
        _ => Kind::Failed,
    };
    Failure::from_error(kind, error).hint(error.hint())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn the_endpoints_share_the_time() {
        let timeout = Duration::from_secs(10);
        assert!(share(timeout, 1) < timeout);
        assert!(share(timeout, 3) * 3 < timeout);
        assert!(share(timeout, 0) < timeout);
    }

    #[test]
    fn a_network_of_several_lies_under_its_name() {
        let all = Etcd { prefix: "/p/".to_owned(), ..etcd(None, None) };
        let name: NetworkName = "blue".parse().unwrap();
        assert_eq!(of_network(&all, Some(&name)).prefix, "/p/blue");
        assert_eq!(of_network(&all, None).prefix, "/p/");
    }

    #[test]
    fn a_user_needs_a_password_from_a_file_or_the_environment() {
        let none: environment::Lookup<'_> = &|_name| None;
        let set: environment::Lookup<'_> =
            &|name| (name == "TWILLD_ETCD_PASSWORD").then(|| "from the environment".into());
        let path = PathBuf::from("/etc/twill/password");

        assert!(user(&etcd(None, None), set).unwrap().is_none());
        assert_eq!(user(&etcd(Some("root"), None), none).unwrap_err().exit_code(), 2);
        let found = user(&etcd(Some("root"), None), set).unwrap().unwrap();
        assert!(matches!(&found.password, Password::Word(word) if word == "from the environment"));
        assert!(!format!("{found:?}").contains("from the environment"));
        let found = user(&etcd(Some("root"), Some(path.clone())), set).unwrap().unwrap();
        assert!(matches!(found.password, Password::File(file) if file == path));
    }

    #[test]
    fn a_password_file_that_is_not_there_is_told_before_etcd_is_asked() {
        let directory = tempfile::tempdir().unwrap();
        let gone = etcd(Some("root"), Some(directory.path().join("gone")));
        let failure = connect(&gone, Duration::from_secs(1)).unwrap_err();
        assert_eq!(failure.exit_code(), 1);
        assert!(failure.to_string().contains("/gone"), "{failure}");
    }

    fn etcd(username: Option<&str>, password_file: Option<PathBuf>) -> Etcd {
        Etcd {
            endpoints: vec!["http://127.0.0.1:1".to_owned()],
            discovery_srv: None,
            prefix: String::new(),
            cafile: None,
            certfile: None,
            keyfile: None,
            username: username.map(ToOwned::to_owned),
            password_file,
        }
    }
}
