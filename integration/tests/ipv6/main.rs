//! Networks with IPv6, alone or beside IPv4.

mod alone;
mod dual;
mod engines;
mod mixed;
mod narrow;
