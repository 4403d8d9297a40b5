//! The networks that lie side by side under one prefix.

use etcd_client::{GetOptions, KeyValue};
use twill_core::ids::{NetworkName, Revision};
use twill_core::networks::catalogue::Catalogue;

use super::Etcd;
use super::watch::entry;
use crate::layout::CONFIG;
use crate::{Directory, Error, Operation, Past};

impl Directory for Etcd {
    /// One read for each network or two, whatever it holds: thousands of leases are none of our business
    /// here. All of them are of the moment of the first one.
    async fn networks(&self) -> Result<Catalogue, Error> {
        let root = self.endpoints.layout.root();
        // etcd knows no empty key.
        let mut from = if root.is_empty() { vec![0] } else { root.as_bytes().to_vec() };
        let (mut row, revision) = self.first_row_from(&from, None).await?;
        let mut catalogue = Catalogue::new(revision);
        while let Some(found) = row {
            let key = String::from_utf8_lossy(found.key()).into_owned();
            if let Some(name) = self.endpoints.layout.network_of(&key) {
                catalogue.insert(name, entry(&found));
            }
            from = next(root, found.key());
            (row, _) = self.first_row_from(&from, Some(revision)).await?;
        }
        Ok(catalogue)
    }

    async fn past(&self, name: &NetworkName, written: Revision) -> Result<Past, Error> {
        let key = self.endpoints.layout.config_of(name);
        let options = GetOptions::new().with_revision(written.0).with_keys_only();
        let answer = self
            .endpoints
            .try_call((Operation::ReadConfig, &key), |mut client| {
                let (key, options) = (key.clone(), options.clone());
                async move { client.get(key, Some(options)).await }
            })
            .await;
        match answer {
            Ok(found) => {
                let same = |row: &KeyValue| row.mod_revision() == written.0;
                Ok(if found.kvs().first().is_some_and(same) { Past::Same } else { Past::Other })
            }
            Err((_place, cause)) if cause.is_compacted() => Ok(Past::Forgotten),
            Err((_place, cause)) if cause.is_future() => Ok(Past::Other),
            Err((place, cause)) => Err(Error::new(place, cause)),
        }
    }
}

impl Etcd {
    /// The first key under the prefix that is not before `from`, without its value; and of which moment
    /// that is, if not of one that was named.
    async fn first_row_from(
        &self,
        from: &[u8],
        at: Option<Revision>,
    ) -> Result<(Option<KeyValue>, Revision), Error> {
        let root = self.endpoints.layout.root();
        let options = GetOptions::new().with_range(end(root)).with_limit(1).with_keys_only();
        let options = options.with_revision(at.map_or(0, |at| at.0));
        let mut answer = self
            .endpoints
            .call((Operation::ListNetworks, root), |mut client| {
                let options = options.clone();
                async move { client.get(from, Some(options)).await }
            })
            .await?;
        let revision = answer.header().map_or(0, etcd_client::ResponseHeader::revision);
        Ok((answer.take_kvs().into_iter().next(), Revision(revision)))
    }
}

/// Behind all keys that begin so.
fn end(root: &str) -> Vec<u8> {
    // The root ends with a slash, if it is not empty: then it is the end of all keys.
    let mut end = root.as_bytes().to_vec();
    match end.last_mut() {
        Some(slash) => *slash += 1,
        None => end.push(0),
    }
    end
}

/// Where to go on behind that key: at the configuration of the network that it is of, or behind all that
/// is of that network.
fn next(root: &str, key: &[u8]) -> Vec<u8> {
    let below = key.strip_prefix(root.as_bytes()).unwrap_or(key);
    let Some(slash) = below.iter().position(|byte| *byte == b'/') else {
        return [key, &[0]].concat();
    };
    let (name, rest) = below.split_at(slash);
    if &rest[1..] < CONFIG.as_bytes() {
        [root.as_bytes(), name, b"/", CONFIG.as_bytes()].concat()
    } else {
        [root.as_bytes(), name, &[b'/' + 1]].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_through_the_keys() {
        for (name, root, key, wanted) in [
            ("no network's", "/p/", "/p/config", "/p/config\0"),
            ("before a configuration", "/p/", "/p/blue/a", "/p/blue/config"),
            ("a configuration", "/p/", "/p/blue/config", "/p/blue0"),
            ("behind one", "/p/", "/p/blue/subnets/10.88.1.0-24", "/p/blue0"),
            ("deeper", "/p/", "/p/blue/config/x", "/p/blue0"),
            ("without a name", "/p/", "/p//config", "/p/0"),
            ("without a prefix", "", "blue/config", "blue0"),
        ] {
            let found = next(root, key.as_bytes());
            assert_eq!(String::from_utf8_lossy(&found), wanted, "{name}");
            assert!(found.as_slice() > key.as_bytes(), "{name}: it goes on");
        }
        assert_eq!((end("/p/"), end("")), (b"/p0".to_vec(), vec![0]));
    }
}
