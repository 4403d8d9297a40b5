//! A second process of this program that keeps the rights which the first one gives up, for one purpose
//! that was settled before. It is told things on its stdin, and ends with it.

use std::ffi::OsStr;
use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

use crate::Error;

/// How long it may take to end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// It says what it says on our stderr.
#[derive(Debug)]
pub struct Attendant {
    child: Child,
    ears: ChildStdin,
}

impl Attendant {
    /// Starts this very program with these arguments, but without those of our variables that
    /// `keeps_back` names.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start<S: AsRef<OsStr>>(
        arguments: impl IntoIterator<Item = S>,
        keeps_back: fn(&str) -> bool,
    ) -> Result<Self, Error> {
        let started = || {
            // Its own group: Ctrl-C is for us, who then end it.
            let mut command = Command::new(std::env::current_exe()?);
            command.args(arguments).process_group(0);
            command.stdin(Stdio::piped()).stdout(Stdio::null());
            let ours = std::env::vars_os().map(|(name, _value)| name);
            ours.filter(|name| name.to_str().is_some_and(keeps_back)).for_each(|name| {
                command.env_remove(name);
            });
            let mut child = command.spawn()?;
            let ears = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
            Ok(Self { child, ears })
        };
        started().map_err(|source| Error::StartAttendant { source })
    }

    /// Tells it something.
    ///
    /// # Errors
    ///
    /// When it has died.
    pub async fn tell(&mut self, text: &str) -> Result<(), Error> {
        let told = self.ears.write_all(text.as_bytes()).await;
        told.map_err(|source| Error::TellAttendant { source })
    }

    /// Ends it, with all that it has under way.
    pub async fn end(self) {
        let Self { mut child, ears } = self;
        drop(ears);
        // One that hangs has nobody to listen to, and ends when it comes to listen.
        drop(timeout(LAST_WORDS, child.wait()).await);
    }
}
