//! The decisions of Twill as pure functions over values.
//!
//! Nothing in here performs I/O, looks at a clock, waits or logs; `Cargo.toml` is the proof. The
//! other crates speak this vocabulary: bytes from etcd, files, argv and the kernel become these
//! types at the border and stay these types.

pub mod config;
pub mod device;
pub mod doctor;
pub mod extension;
pub mod firewall;
#[cfg(test)]
mod golden;
pub mod ids;
mod json;
pub mod lease;
pub mod networks;
pub mod node;
pub mod ownership;
pub mod peers;
pub mod pick;
pub mod picture;
pub mod plan;
pub mod run;
pub mod serving;
pub mod shortcut;
pub mod status;
pub mod subnet_env;
pub mod trace;
pub mod validity;
pub mod wireguard;
