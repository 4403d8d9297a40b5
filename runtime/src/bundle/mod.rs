//! From a record to what libcontainer runs: a root file system and a config.json.

pub mod files;
pub mod rootfs;
pub mod spec;
pub mod user;

pub use spec::Inputs;
pub use user::Identity;
