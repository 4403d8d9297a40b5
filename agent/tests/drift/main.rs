//! Whatever somebody else does to what is ours in the kernel is undone within a second of the kernel's
//! word of it, and what is not ours stays as it is. The timer has no part in it: it is set to a minute.
//!
//! With `HEALING_ROUNDS` everything is done so many times, for `make healing`.

#[path = "../../../integration/src/deeds.rs"]
#[expect(dead_code, reason = "each test file uses its part of the deeds")]
mod deeds;
mod endured;
mod found;
mod host;
mod named;
mod setting;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "each test file uses its part of the support")]
mod support;
mod switches;
mod uplink;
