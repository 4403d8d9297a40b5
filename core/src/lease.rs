//! Leases as they stand in etcd: key, value, and who holds them.
