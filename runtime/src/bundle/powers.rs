//! What a container's processes may do, worked out for this host: the same for the first one and for those
//! of `exec`.

use nix::sys::resource::{Resource, getrlimit};
use serde_json::Value;

use super::devices::{self, Node};
use super::user::{self, Databases, Identity};
use crate::container::Record;
use crate::container::isolation::Ulimit;
use crate::error::{Error, Result};
use crate::security::capabilities;

/// What systemd gives services: programs that loop over all descriptors stay fast.
const OPEN_FILES_SOFT: u64 = 1024;
const OPEN_FILES_HARD: u64 = 524_288;

/// Everything that is worked out.
#[derive(Clone, Debug, Default)]
pub struct Powers {
    /// Of its root.
    pub capabilities: Vec<String>,
    /// In the OCI's form.
    pub filter: Option<Value>,
    /// May no program give more than its caller has?
    pub no_new_privileges: bool,
    /// One for each resource.
    pub limits: Vec<Limit>,
}

/// How much of a resource one process may have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limit {
    /// Of what.
    pub resource: Resource,
    /// What holds.
    pub soft: u64,
    /// How far that may be raised.
    pub hard: u64,
}

impl Powers {
    /// Those of a container; refuses what we cannot give.
    pub fn of(record: &Record) -> Result<Self> {
        let security = &record.security;
        let capabilities = security.capabilities(&capabilities::own()).map_err(|missing| {
            Error::Usage(format!("{missing} cannot be given: this program does not have it itself"))
        })?;
        let filter = security
            .filter(&capabilities)
            .map_err(|error| Error::Usage(format!("cannot use the seccomp profile: {error}")))?;
        let limits = limits(&record.isolation.ulimits, most)?;
        Ok(Self { capabilities, filter, no_new_privileges: security.no_new_privileges, limits })
    }
}

/// The nodes that a container gets besides the usual ones.
pub fn nodes(record: &Record) -> Result<Vec<Node>> {
    let wanted = devices::nodes(&record.isolation.devices)?;
    if !record.security.privileged {
        return Ok(wanted);
    }
    let mut all = devices::of_host()?;
    all.retain(|node| wanted.iter().all(|other| other.path != node.path));
    all.extend(wanted);
    Ok(all)
}

/// Adds the groups that were asked for by name or number.
pub fn add_groups(identity: &mut Identity, record: &Record, files: Databases<'_>) -> Result<()> {
    for wish in &record.isolation.groups {
        let gid = user::group(wish, files)?;
        if !identity.groups.contains(&gid) {
            identity.groups.push(gid);
        }
    }
    Ok(())
}

fn limits(wishes: &[Ulimit], most: impl Fn(Resource) -> u64) -> Result<Vec<Limit>> {
    let hard = OPEN_FILES_HARD.min(most(Resource::RLIMIT_NOFILE));
    let soft = OPEN_FILES_SOFT.min(hard);
    let mut all = vec![Limit { resource: Resource::RLIMIT_NOFILE, soft, hard }];
    for wish in wishes {
        let (resource, (soft, hard)) = (wish.kernel(), wish.values());
        if hard > most(resource) {
            return Err(Error::Usage(format!(
                "cannot set the ulimit {wish}: this program may give {} at most",
                most(resource)
            )));
        }
        all.retain(|limit| limit.resource != resource);
        all.push(Limit { resource, soft, hard });
    }
    Ok(all)
}

/// Without `CAP_SYS_RESOURCE` a hard limit can only be lowered.
fn most(resource: Resource) -> u64 {
    let may_raise =
        caps::has_cap(None, caps::CapSet::Effective, caps::Capability::CAP_SYS_RESOURCE);
    if may_raise.unwrap_or(false) {
        return u64::MAX;
    }
    getrlimit(resource).map_or(u64::MAX, |(_, hard)| hard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_those_that_may_be_given() {
        let most = |_| 20_000;
        let limit = |resource, soft, hard| Limit { resource, soft, hard };
        assert_eq!(
            limits(&[], most).unwrap(),
            [limit(Resource::RLIMIT_NOFILE, 1024, 20_000)],
            "the usual one is lowered where it has to be"
        );
        let wishes = ["nofile=10:20", "core=0"].map(|text| text.parse().unwrap());
        assert_eq!(
            limits(&wishes, most).unwrap(),
            [limit(Resource::RLIMIT_NOFILE, 10, 20), limit(Resource::RLIMIT_CORE, 0, 0)]
        );
        let refused = limits(&["nofile=-1".parse().unwrap()], most).unwrap_err();
        assert!(refused.to_string().contains("may give 20000 at most"), "{refused}");
    }
}
