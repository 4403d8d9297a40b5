//! The image store against real files, a real overlayfs, and archives of every kind and malice.
//!
//! Ownership, device nodes and mounts need root; nothing outside a temporary directory is touched.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod archives;
mod bad_input;
mod commands;
mod crash;
mod formats;
mod gc;
mod interop;
mod many;
mod overlay;
mod removal;
mod support;
mod tree;
mod tricks;
mod unpack;
