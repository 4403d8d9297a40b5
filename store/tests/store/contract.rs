//! What every store promises, run against the one in memory and against a real etcd.

mod claims;
mod networks;
mod records;
mod reservations;
mod tenure;
mod watching;
