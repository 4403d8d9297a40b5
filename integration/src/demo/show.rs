//! What the audience sees: numbered steps, each command before it runs, and what it says.

use std::io::Write;

use anyhow::Result;

use crate::host::Host;

/// The demo's voice on standard output.
#[derive(Debug, Default)]
pub(super) struct Show {
    step: u32,
}

impl Show {
    /// Announces what comes.
    pub(super) fn step(&mut self, what: &str) {
        self.step += 1;
        self.say(&format!("\n== {}. {what}", self.step));
    }

    /// One line.
    #[expect(clippy::unused_self, reason = "only who has the show may speak")]
    pub(super) fn say(&self, line: &str) {
        // Whoever pipes us into `head` has seen enough; the demo still cleans up.
        drop(writeln!(std::io::stdout(), "{line}"));
    }

    /// Shows a command, runs it on `host`, shows what it says and answers that.
    pub(super) fn run(&self, host: &Host, command: &str) -> Result<String> {
        self.say(&format!("{}# {command}", host.name()));
        let said = host.sh(command)?;
        for line in said.lines() {
            self.say(&format!("    {line}"));
        }
        Ok(said)
    }

    /// Shows a command that is started in the background.
    pub(super) fn background(&self, host: &Host, command: &str) {
        self.say(&format!("{}# {command} &", host.name()));
    }
}
