//! The number of nftables' transactions so far in the calling thread's namespace: whoever reads the
//! same number twice knows that nobody changed a rule in between.

use crate::Error;
use crate::netfilter;

pub(super) fn read() -> Result<u32, Error> {
    netfilter::generation().map_err(|source| Error::WatchRules { source })
}
