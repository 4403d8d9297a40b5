//! etcd behind a trait, and its in-memory twin.
