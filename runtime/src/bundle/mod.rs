//! From a record to what libcontainer runs: a root file system and a config.json.

pub mod devices;
pub mod files;
pub mod mount_namespace;
mod mounts;
pub mod powers;
pub mod rootfs;
pub mod spec;
pub mod storage;
pub mod user;

pub use powers::Powers;
pub use spec::{Inputs, Shared, Space};
pub use user::Identity;
