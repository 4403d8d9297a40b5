//! What goes wrong around a tunnel, and must not get into it. The far host is one socket that turns every
//! datagram round.
//!
//! ```text
//! lo 10.5.1.1  flannel0 ─ u0 192.0.2.1 ═══ u0 192.0.2.2: who is 10.5.2.1
//! ```

mod around;
mod wires;
mod world;
