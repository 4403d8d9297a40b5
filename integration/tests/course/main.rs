//! What the course for administrators types, with `twill` in place of `docker`, on two hosts: chapters 1 to 4,
//! 6 and 8 command by command. Images cannot be pulled here: busybox answers to the names that the course uses.

mod class;
mod images;
mod networks;
mod options;
mod usage;
