//! Tells container runtimes about this host's subnet: the last step, so that whoever can read it may
//! rely on all the others.

use std::time::Duration;

use tokio::sync::watch;
use twill_core::subnet_env::SubnetEnv;

use crate::bootstrap::Agent;
use crate::failure::Failure;
use crate::files::{self, Wanted};
use crate::firewall::jittered;
use crate::flags::Files;
use crate::hook::Hook;
use crate::trouble::Trouble;

/// The variable that Docker's units of the flannel days read.
const DOCKER_KEY: &str = "DOCKER_NETWORK_OPTIONS";

/// The subnet that this host published last; nothing if the file is missing or somebody spoilt it,
/// because it is only a wish.
pub(crate) fn previous(files: &Files) -> Option<SubnetEnv> {
    let text = std::fs::read_to_string(&files.subnet_file).ok()?;
    match SubnetEnv::parse(&text) {
        Ok(env) => Some(env),
        Err(error) => {
            tracing::warn!(file = %files.subnet_file.display(), %error, "cannot read the last subnet");
            None
        }
    }
}

/// Fails early: a subnet of which nobody can be told is of no use.
pub(crate) fn check(files: &Files) -> Result<(), Failure> {
    for (path, option) in [
        (&files.docker_options_file, "--docker-options-file"),
        (&files.subnet_file, "--subnet-file"),
    ] {
        files::check(path).map_err(|error| {
            let hint = format!("make room and write access there, or choose another {option}");
            Failure::refused(error).hint(hint)
        })?;
    }
    Ok(())
}

/// Puts back, each `period`, what somebody deleted or changed, for ever.
pub(crate) async fn keep(
    (files, hook): (Files, Hook),
    env: watch::Receiver<SubnetEnv>,
    period: Duration,
) {
    let mut trouble = Trouble::default();
    loop {
        tokio::time::sleep(jittered(period)).await;
        let env = *env.borrow();
        match publish((&files, &hook), &env) {
            Ok(written) => {
                if written {
                    tracing::warn!("the files for container runtimes had been changed, put back");
                }
                trouble.over();
            }
            Err(error) => {
                let error = format!("{error:#}");
                if trouble.meet(&error).1 {
                    tracing::error!(error, "cannot keep the files for container runtimes");
                }
            }
        }
    }
}

impl<S> Agent<S> {
    /// Tells container runtimes; whoever starts containers from then on finds somebody who answers them for
    /// names.
    pub(crate) fn publish(&self, env: &SubnetEnv) -> anyhow::Result<()> {
        publish((&self.flags.files, &self.hook), env)?;
        self.host.names.look();
        Ok(())
    }
}

/// Writes Docker's options, then `subnet.env`, and lets the hook know; tells whether there was anything
/// to write.
fn publish((files, hook): (&Files, &Hook), env: &SubnetEnv) -> anyhow::Result<bool> {
    let options = env.docker_options(DOCKER_KEY);
    let docker = Wanted { path: &files.docker_options_file, text: &options, mode: 0o644 };
    let subnet = Wanted { path: &files.subnet_file, text: &env.render(), mode: 0o644 };
    let mut any = false;
    for wanted in [docker, subnet] {
        if files::ensure(wanted)? {
            tracing::debug!(file = %wanted.path.display(), "written");
            any = true;
        }
    }
    hook.published(env);
    Ok(any)
}
