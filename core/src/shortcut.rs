//! What the programs are known by that carry packets of `udp` within the kernel: their place among an
//! interface's filters. Names are no help, because without `CAP_PERFMON` they have none.

/// Our filters are looked at behind those of others that ask to be early, and before those that let the
/// kernel choose.
pub const PRIORITY: u16 = 4184;

/// Upper half of a filter's handle. Of filters of that priority those with it are ours; the lower half is the
/// port, which tells the tunnels of one host apart.
pub const MARK: u16 = 0x7457;
