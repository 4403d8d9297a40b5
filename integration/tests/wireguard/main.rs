//! The `wireguard` backend on a kernel that has it: hosts that speak under keys.

mod hosts;
mod world;
