//! What commands for several containers have in common: go on after a failure, and say so at the end.

use crate::commands::Code;
use crate::container::{Container, Status, Store, reap};
use crate::error::{Error, Result};
use crate::output;

/// Does something with each container; 1 if any of it failed.
pub fn container(
    store: &Store<'_>,
    names: &[String],
    mut work: impl FnMut(Container, &str) -> Result<()>,
) -> Code {
    let mut code = Code::OK;
    for name in names {
        if let Err(error) = one(store, name).and_then(|container| work(container, name)) {
            complain(&error);
            code = Code(1);
        }
    }
    code
}

/// Finds a container and the truth about it.
pub fn one(store: &Store<'_>, name: &str) -> Result<Container> {
    let settled = reap::settle(store, store.find(name)?)?;
    settled.ok_or_else(|| Error::NoSuchContainer(name.to_owned()))
}

/// Finds a container that runs.
pub fn running(store: &Store<'_>, name: &str) -> Result<Container> {
    let container = one(store, name)?;
    match container.state.status {
        Status::Running => Ok(container),
        Status::Restarting => Err(Error::Restarting(container.record.name)),
        _ => Err(Error::NotRunning(container.record.name)),
    }
}

/// Finds a container that runs and is not halted.
pub fn active(store: &Store<'_>, name: &str, verb: &'static str) -> Result<Container> {
    let container = running(store, name)?;
    if container.state.paused {
        return Err(Error::Paused { name: container.record.name, verb });
    }
    Ok(container)
}

/// One line for the failure, one for the way out.
pub fn complain(error: &Error) {
    output::note(format_args!("twill: {}", error.chain()));
    if let Some(hint) = error.hint() {
        output::note(format_args!("hint: {hint}"));
    }
}
