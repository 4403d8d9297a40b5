//! The CNI plugin of the Twill overlay network.

fn main() {}
