//! The container runtime of the Twill overlay network.

fn main() {}
