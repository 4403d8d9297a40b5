//! What this process may do besides what everybody may: given up once, at the start, for ever.

use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::prctl::set_no_new_privs;

use crate::Error;

/// Every backend needs the first; echoes and the older of the two kinds of iptables the second; a port
/// below 1024 the third, which is kept where it was given.
const NEEDED: [Capability; 3] =
    [Capability::CAP_NET_ADMIN, Capability::CAP_NET_RAW, Capability::CAP_NET_BIND_SERVICE];

/// What the process is there for, beyond devices, rows and rules.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Duty {
    /// Nothing.
    Plain,
    /// Programs of the kernel as well.
    Programs,
}

/// Was this thread given more than it needs?
#[must_use]
pub fn are_surplus(duty: Duty) -> bool {
    let sets = [CapSet::Bounding, CapSet::Permitted, CapSet::Inheritable];
    sets.into_iter().any(|set| surplus(set, duty).is_ok_and(|surplus| !surplus.is_empty()))
}

/// Gives up all that is not needed, in every set, and the way back to it by running another program.
///
/// Rights belong to threads: those that start later have what this one has left, and there must be
/// none that started before.
///
/// # Errors
///
/// When there is another thread, or the kernel refuses. A bounding set that may not be narrowed is
/// none: without new privileges nobody gets more out of it than is permitted.
pub fn shed(duty: Duty) -> Result<(), Error> {
    let threads = std::fs::read_dir("/proc/self/task").map(Iterator::count);
    if !matches!(threads, Ok(1)) {
        return Err(Error::RightsOfThreads);
    }
    shed_this_thread(duty).map_err(|source| Error::ShedRights { source })
}

fn shed_this_thread(duty: Duty) -> Result<(), caps::errors::CapsError> {
    // While there is the right to do so.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
        for capability in surplus(CapSet::Bounding, duty)? {
            caps::drop(None, CapSet::Bounding, capability)?;
        }
    }
    caps::clear(None, CapSet::Ambient)?;
    caps::clear(None, CapSet::Inheritable)?;
    // First what follows from the permitted ones.
    for set in [CapSet::Effective, CapSet::Permitted] {
        let kept: CapsHashSet =
            caps::read(None, set)?.intersection(&needed(duty)).copied().collect();
        caps::set(None, set, &kept)?;
    }
    set_no_new_privs().map_err(|errno| format!("cannot refuse new privileges: {errno}").into())
}

fn needed(duty: Duty) -> CapsHashSet {
    let programs = (duty == Duty::Programs).then_some(Capability::CAP_BPF);
    NEEDED.into_iter().chain(programs).collect()
}

fn surplus(set: CapSet, duty: Duty) -> Result<Vec<Capability>, caps::errors::CapsError> {
    Ok(caps::read(None, set)?.difference(&needed(duty)).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of one thread: those of a test's process are another's.
    #[test]
    fn what_is_not_needed_is_gone_from_every_set() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        assert!(are_surplus(Duty::Programs));
        shed_this_thread(Duty::Programs).unwrap();
        assert!(!are_surplus(Duty::Programs) && are_surplus(Duty::Plain));
        shed_this_thread(Duty::Plain).unwrap();
        assert!(!caps::has_cap(None, CapSet::Permitted, Capability::CAP_BPF).unwrap());
        for set in [CapSet::Effective, CapSet::Permitted, CapSet::Bounding] {
            assert!(surplus(set, Duty::Programs).unwrap().is_empty(), "{set:?}");
            assert!(caps::has_cap(None, set, Capability::CAP_NET_ADMIN).unwrap(), "{set:?}");
        }
        for set in [CapSet::Ambient, CapSet::Inheritable] {
            assert!(caps::read(None, set).unwrap().is_empty(), "{set:?}");
        }
        // Once more, without the right to.
        shed_this_thread(Duty::Plain).unwrap();
        let error = shed(Duty::Plain).unwrap_err();
        assert!(error.to_string().contains("thread"), "{error}");
    }
}
