//! What etcd holds, as it holds it: for people who look into it.

use twill_core::ids::{LeaseId, Revision};
use twill_core::lease::Key;

use super::Etcd;
use crate::{Error, Operation};

/// One key, unread.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Raw {
    /// The whole key.
    pub path: String,
    /// The bytes of the value.
    pub value: Vec<u8>,
    /// When the key was made.
    pub created: Revision,
    /// When it was last written.
    pub revision: Revision,
    /// How often it was written since it was made.
    pub writes: i64,
    /// The etcd lease that it ends with.
    pub lease_id: Option<LeaseId>,
}

impl Etcd {
    /// What stands under the key of a lease, whatever it is.
    pub async fn inspect(&self, key: Key) -> Result<Option<Raw>, Error> {
        let path = self.endpoints.layout.lease(key);
        let found = self
            .endpoints
            .call((Operation::ReadLease, &path), |mut client| {
                let path = path.clone();
                async move { client.get(path, None).await }
            })
            .await?;
        Ok(found.kvs().first().map(|row| Raw {
            path: path.clone(),
            value: row.value().to_vec(),
            created: Revision(row.create_revision()),
            revision: Revision(row.mod_revision()),
            writes: row.version(),
            lease_id: (row.lease() != 0).then_some(LeaseId(row.lease())),
        }))
    }
}
