//! One container on disk: its record, its state, its name, and what clears it away.
//!
//! ```text
//! <root>/containers/<id>/config.json   the record: changed by `rename` and `update` only
//!                        state.json    created, running, exited: replaced by the monitor
//!                        log.json      output
//!                        hosts, hostname, resolv.conf, upper/, work/
//! <root>/names/<name>                  a link to the id
//! <run root>/containers/<id>/          monitor.lock, control.sock, the bundle: gone after a reboot
//! ```
//!
//! Whether a container runs is not a matter of what `state.json` says but of who holds
//! `monitor.lock`: the kernel lets go of it when the monitor dies, however it dies.

pub mod attachment;
pub mod births;
pub mod changes;
pub mod create;
pub mod end;
pub mod env_file;
pub mod halts;
pub mod health;
pub mod id;
pub mod isolation;
pub mod link_variables;
pub mod links;
pub mod liveness;
pub mod logging;
pub mod names;
pub mod ports;
pub mod reap;
pub mod record;
pub mod rename;
pub mod renumber;
pub mod resources;
pub mod restart;
pub mod size;
pub mod state;
pub mod store;
pub mod wiring;

pub use attachment::Attachment;
pub use isolation::Isolation;
pub use record::{ImageOf, Network, Record};
pub use resources::Resources;
pub use restart::Policy;
pub use state::{Address, Ip, State, Status, Wish};
pub use store::{Attempt, Container, Store};
