//! The decisions of Twill as pure functions over values.
//!
//! Nothing in here performs I/O, looks at a clock, waits or logs; `Cargo.toml` is the proof. The
//! other crates speak this vocabulary: bytes from etcd, files, argv and the kernel become these
//! types at the border and stay these types.

pub mod config;
pub mod device;
pub mod firewall;
#[cfg(test)]
mod golden;
pub mod ids;
mod json;
pub mod lease;
pub mod node;
pub mod peers;
pub mod pick;
pub mod plan;
pub mod status;
pub mod subnet_env;
