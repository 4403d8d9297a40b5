//! What the commands may have done, kept for the next start: whoever left meanwhile is removed then.

use std::path::PathBuf;

use twill_core::extension::{Hosts, Kept};
use twill_core::ids::BootId;

use crate::files::{self, Wanted};

/// A file in the state directory.
#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
}

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

impl Record {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// What was done since the boot, as far as it is known.
    pub(super) fn read(&self) -> Hosts {
        let Ok(text) = std::fs::read(&self.path) else { return Hosts::new() };
        match Kept::parse(&text) {
            Ok(kept) if Some(kept.boot) == boot() => kept.hosts,
            Ok(_before_the_boot) => Hosts::new(),
            Err(error) => {
                let file = self.path.display();
                tracing::warn!(%file, %error, "cannot read which hosts the commands were told of");
                Hosts::new()
            }
        }
    }

    /// Before a command is run that may bring it about.
    pub(super) fn keep(&self, hosts: &Hosts) {
        // A kernel that does not say which run this is keeps nothing either.
        let Some(boot) = boot() else { return };
        let text = Kept { boot, hosts: hosts.clone() }.to_json();
        let kept = files::ensure(Wanted { path: &self.path, text: &text, mode: 0o600 });
        if let Err(error) = kept {
            tracing::warn!(
                "hosts that leave while the agent is away will not be removed: {error:#}"
            );
        }
    }

    /// There is nothing left of it.
    pub(super) fn forget(&self) {
        drop(std::fs::remove_file(&self.path));
    }
}

fn boot() -> Option<BootId> {
    std::fs::read_to_string(BOOT_ID).ok()?.trim().parse().ok()
}
