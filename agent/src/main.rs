//! twilld, the agent of the Twill overlay network.

fn main() {}
