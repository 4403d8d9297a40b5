//! Passwords, tokens and keys for etcd are nowhere to be seen, whatever happens; and etcd's certificate
//! may be of an authority that the operating system trusts.
//!
//! ```text
//!   node1: etcd with TLS, client certificates and users   twilld --v 2, twillctl
//! ```

mod hidden;
mod roots;
mod story;
mod usage;
mod world;
