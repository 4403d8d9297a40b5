//! How fast a container may be: the capability `bandwidth`.

use twill_endpoint::{Limit, Limits};

use super::Runtime;
use crate::document::Document;
use crate::error::Failure;

/// A rate of 0 is none, whatever the burst: so runtimes write one direction of two.
pub(super) fn limits(runtime: &Runtime<'_>) -> Result<Limits, Failure> {
    if !runtime.may("bandwidth")? {
        return Ok(Limits::default());
    }
    let wanted = runtime.0.object("bandwidth")?;
    Ok(Limits {
        to_container: limit(&wanted, ["ingressRate", "ingressBurst"])?,
        from_container: limit(&wanted, ["egressRate", "egressBurst"])?,
    })
}

/// Both are in bits. Without a burst it is what goes in a tenth of a second.
fn limit(wanted: &Document<'_>, [rate, burst]: [&str; 2]) -> Result<Option<Limit>, Failure> {
    const BITS: u64 = 8;
    let Some(bits) = wanted.number(rate)? else { return Ok(None) };
    let burst = wanted.number(burst)?.unwrap_or(bits / 10) / BITS;
    Ok(Some(Limit {
        bytes_per_second: (bits / BITS).max(1),
        burst: u32::try_from(burst).unwrap_or(u32::MAX),
    }))
}
