//! Runs one command: connects, calls, and turns what came of it into a report.

use std::ffi::OsString;
use std::future::Future;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use twill_core::ids::LeaseId;
use twill_store::{self as store, Options, Tls, User};

use crate::args::{Cli, Command, Etcd, Lease, Node};
use crate::failure::{Failure, Kind};
use crate::report::Report;
use crate::{environment, generate, leases, network, nodes, revoke, status};

/// Runs what the command line asks for, within its time.
pub(crate) fn run(cli: Cli) -> Result<Report, Failure> {
    let Cli { etcd, output, timeout, command } = cli;
    match command {
        Command::Generate { directory } => generate::generate(&directory),
        Command::Status(args) => {
            let work = status::show(&args.socket, output);
            runtime()?.block_on(within(timeout, "the agent", work))
        }
        Command::Network(command) => {
            // Before anything is asked of etcd: a wrong option is wrong with and without it.
            let work = network::Work::of(command)?;
            let store = connect(&etcd, timeout)?;
            runtime()?.block_on(within(timeout, "etcd", network::run(&store, &work, output)))
        }
        Command::Lease(Lease::List) => {
            let store = connect(&etcd, timeout)?;
            runtime()?.block_on(within(timeout, "etcd", list_leases(&store, output)))
        }
        Command::Lease(Lease::Revoke(args)) => {
            let store = connect(&etcd, timeout)?;
            // A person may think longer than etcd may.
            runtime()?.block_on(revoke::revoke(&store, &args, revoke::ask))
        }
        Command::Node(Node::List) => {
            let store = connect(&etcd, timeout)?;
            runtime()?.block_on(within(timeout, "etcd", nodes::list(&store, output)))
        }
    }
}

async fn list_leases(etcd: &store::Etcd, output: crate::args::Output) -> Result<Report, Failure> {
    let (listing, nodes) = leases::read(etcd).await?;
    let ids: Vec<LeaseId> = listing.leases.iter().filter_map(|lease| lease.lease_id).collect();
    let ends = etcd.remaining(&ids).await.map_err(|error| store_failure(&error))?;
    Ok(leases::report(&listing, &nodes, &ends, output))
}

/// Nothing of ours waits on anything but sockets: one thread is enough.
fn runtime() -> Result<Runtime, Failure> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::from_error(Kind::Internal, &error))
}

async fn within<T>(
    timeout: Duration,
    whom: &str,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::time::timeout(timeout, work).await.unwrap_or_else(|_elapsed| {
        let message = format!("{whom} did not answer within {} s", timeout.as_secs_f64());
        Err(Failure::new(Kind::Unreachable, message).hint("wait longer with --timeout SECONDS"))
    })
}

fn connect(etcd: &Etcd, timeout: Duration) -> Result<store::Etcd, Failure> {
    let lookup = |name: &str| -> Option<OsString> { std::env::var_os(name) };
    let options = Options {
        endpoints: etcd.endpoints.clone(),
        prefix: etcd.prefix.clone(),
        tls: Tls {
            ca_file: etcd.cafile.clone(),
            cert_file: etcd.certfile.clone(),
            key_file: etcd.keyfile.clone(),
        },
        user: user(etcd, &lookup)?,
        deadline: share(timeout, etcd.endpoints.len()),
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
    let password = match &etcd.password_file {
        None => environment::password(lookup),
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                let message = format!("cannot read the password in {}: {error}", path.display());
                Failure::new(Kind::Failed, message).hint("check --etcd-password-file")
            })?;
            Some(text.trim_end_matches(['\n', '\r']).to_owned())
        }
    };
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
        | store::Error::Endpoint { .. }
        | store::Error::NoEndpoint => Kind::Usage,
        _ => Kind::Failed,
    };
    Failure::from_error(kind, error).hint(error.hint())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoints_share_the_time() {
        let timeout = Duration::from_secs(10);
        assert!(share(timeout, 1) < timeout);
        assert!(share(timeout, 3) * 3 < timeout);
        assert!(share(timeout, 0) < timeout);
    }

    #[test]
    fn a_user_needs_a_password_from_a_file_or_the_environment() {
        let none: environment::Lookup<'_> = &|_name| None;
        let set: environment::Lookup<'_> =
            &|name| (name == "TWILLD_ETCD_PASSWORD").then(|| "from the environment".into());
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        std::fs::write(&path, "from the file\n").unwrap();

        assert!(user(&etcd(None, None), set).unwrap().is_none());
        assert_eq!(user(&etcd(Some("root"), None), none).unwrap_err().exit_code(), 2);
        let found = user(&etcd(Some("root"), None), set).unwrap().unwrap();
        assert_eq!(found.password, "from the environment");
        let found = user(&etcd(Some("root"), Some(path)), set).unwrap().unwrap();
        assert_eq!(found.password, "from the file");
        let gone = etcd(Some("root"), Some(directory.path().join("gone")));
        assert_eq!(user(&gone, set).unwrap_err().exit_code(), 1);
    }

    fn etcd(username: Option<&str>, password_file: Option<std::path::PathBuf>) -> Etcd {
        Etcd {
            endpoints: Vec::new(),
            prefix: String::new(),
            cafile: None,
            certfile: None,
            keyfile: None,
            username: username.map(ToOwned::to_owned),
            password_file,
        }
    }
}
