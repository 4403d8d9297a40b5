//! twillctl, the administrator's tool of the Twill overlay network.

fn main() {}
