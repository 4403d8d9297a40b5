//! The loader of programs.

use std::thread;

use aya::EbpfLoader;
use landlock::{AccessFs, Ruleset, RulesetAttr as _, RulesetError, RulesetStatus};

/// One that knows no types of the kernel, which our programs do not refer to. Whoever makes one reads all of them, if he
/// may, and has 15 MiB more for a moment; so a thread makes it that may read no file.
pub(super) fn loader() -> EbpfLoader<'static> {
    let blindly = || {
        if !matches!(close_files(), Ok(true)) {
            tracing::debug!("the loader of programs reads all types of the kernel");
        }
        EbpfLoader::new()
    };
    let thread = thread::Builder::new().name("loader".to_owned()).spawn(blindly);
    thread.ok().and_then(|thread| thread.join().ok()).unwrap_or_default()
}

/// From now on this thread opens no file to read it, if the kernel has a means to keep it from that: has it?
fn close_files() -> Result<bool, RulesetError> {
    let ruleset = Ruleset::default().handle_access(AccessFs::ReadFile)?.create()?;
    Ok(ruleset.restrict_self()?.ruleset != RulesetStatus::NotEnforced)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn takes_little_memory() {
        // The most that this process ever had, in KiB.
        let most = || -> u64 {
            let status = fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
            line.trim().trim_end_matches(" kB").parse().unwrap()
        };
        let before = most();
        drop(loader());
        let more = most() - before;
        let closed = thread::spawn(|| {
            matches!(close_files(), Ok(true)).then(|| fs::read("/proc/self/status").is_err())
        });
        match closed.join().unwrap() {
            Some(closed) => assert!(closed && more < 2048, "{more} KiB"),
            None => eprintln!("this kernel has no Landlock"),
        }
    }
}
