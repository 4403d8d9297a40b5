//! The container runtime of Twill: Docker's commands without a daemon.
//!
//! One short-lived process per command, one small monitor process per container. State is files;
//! each command first looks at what the kernel says, so that a killed monitor never leaves a lie.
//!
//! ```text
//! run ──► record (containers/<id>/) ──► monitor ──► libcontainer: namespaces, cgroup, rootfs
//!                                          │   └──► endpoint: address, veth, routes
//!                                          ├─ log.json, state.json, control.sock
//! ps, inspect, logs ◄── files ─────────────┤
//! attach, wait ◄─────── control.sock ──────┘        exec, stop, kill ──► the container's processes
//! ```

pub mod bundle;
pub mod cgroup;
pub mod cli;
pub mod commands;
pub mod container;
pub mod copy;
pub mod durable;
pub mod error;
pub mod events;
pub mod exec;
pub mod human;
pub mod image;
pub mod inspect;
pub mod listing;
pub mod logs;
pub mod monitor;
pub mod mount;
pub mod output;
pub mod paths;
pub mod process;
mod raw;
mod sealed;
pub mod security;
pub mod signals;
pub mod table;
pub mod template;
pub mod terminal;
mod usage;
pub mod volume;
pub mod when;

pub use error::{Error, Result};
pub use paths::Paths;
