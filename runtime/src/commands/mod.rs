//! One file per command: its arguments, its help, and the few steps from arguments to the library.

pub mod attach;
pub mod boot;
pub mod commit;
pub mod container;
pub mod cp;
pub mod create;
pub mod diff;
pub mod disk;
pub mod each;
pub mod events;
pub mod exec;
pub mod export;
pub mod generate;
pub mod halt;
pub mod health;
pub mod history;
pub mod image;
pub mod image_prune;
pub mod images;
pub mod import;
pub mod info;
pub mod inspect;
pub mod isolation;
pub mod kill;
pub mod load;
pub mod logs;
pub mod monitor;
pub mod network;
pub mod network_list;
pub mod network_options;
pub mod pause;
pub mod port;
pub mod progress;
pub mod prune;
pub mod ps;
pub mod rename;
pub mod restart;
pub mod rm;
pub mod rmi;
pub mod run;
pub mod save;
pub mod start;
pub mod stats;
pub mod stop;
pub mod storage;
pub mod system;
pub mod tag;
pub mod top;
pub mod unpause;
pub mod update;
pub mod version;
pub mod volume;
pub mod volume_create;
pub mod wait;

/// How a command that did not fail ends the process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Code(pub u8);

impl Code {
    /// All went well.
    pub const OK: Self = Self(0);
}
