//! How fast packets of a container may come and go.
//!
//! Each end of the pair limits what it sends: the host's end what the container gets, the container's end what
//! it sends. Both limits go with the pair. A container that may change its own interfaces (`CAP_NET_ADMIN`)
//! can lift the second one.

use serde::{Deserialize, Serialize};
use twill_core::ids::Mtu;
use twill_net::blocking::{Kernel, Link, Rate};

use crate::error::Error;

/// In each direction; none is as fast as it goes.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// What the container gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_container: Option<Limit>,
    /// What the container sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_container: Option<Limit>,
}

/// In one direction.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Limit {
    /// In the long run, bytes in each second; not 0.
    pub bytes_per_second: u64,
    /// At once, after a rest: bytes. What carries one packet, at least, is taken.
    pub burst: u32,
}

/// A header of Ethernet with a tag, which the MTU does not count.
const HEADER: u32 = 18;

impl Limits {
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn set(
        &self,
        (host, port): (&mut Kernel, &Link),
        (inside, peer): (&mut Kernel, &Link),
        mtu: Mtu,
    ) -> Result<(), Error> {
        let rate = |limit: Limit| Rate {
            bytes_per_second: limit.bytes_per_second.max(1),
            burst: limit.burst.max(mtu.bytes() + HEADER),
        };
        if let Some(limit) = self.to_container {
            host.limit_rate(port.index, rate(limit))?;
        }
        if let Some(limit) = self.from_container {
            inside.limit_rate(peer.index, rate(limit))?;
        }
        Ok(())
    }

    /// What is missing, in words.
    pub(crate) fn lacks(
        &self,
        (host, port): (&mut Kernel, &Link),
        (inside, peer): (&mut Kernel, &Link),
    ) -> Result<Option<&'static str>, Error> {
        if self.to_container.is_some() && !host.has_limit(port.index)? {
            return Ok(Some("what it gets is not limited any more"));
        }
        if self.from_container.is_some() && !inside.has_limit(peer.index)? {
            return Ok(Some("what it sends is not limited any more"));
        }
        Ok(None)
    }
}
