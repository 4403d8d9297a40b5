//! Steps in words, for logs.

use std::fmt;

use super::{Step, Taken};

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rest => f.write_str("nothing to do"),
            Self::Claim(choice) => write!(f, "claim {}: {}", choice.key.words(), choice.reason),
            Self::Adopt(lease) => write!(f, "hold {} as it stands now", lease.key.words()),
            Self::Ask(lease) => {
                let (subnet, at) = (lease.key.words(), lease.value.public_ip);
                write!(f, "ask whether the host at {at}, which has {subnet} and our node id, lives")
            }
            Self::Withdraw(lease) => write!(f, "revoke our earlier lease of {}", lease.key.words()),
            Self::StepBack(taken) => write!(f, "give the subnet up: {taken}"),
            Self::BecomeAnother(Some(at)) => {
                write!(f, "take a new node id: the host at {at} has ours and keeps it")
            }
            Self::BecomeAnother(None) => {
                f.write_str("take a new node id: the state directory was made on another machine")
            }
        }
    }
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::By(lease) => {
                let (subnet, at) = (lease.key.words(), lease.value.public_ip);
                write!(f, "{subnet} is owned by the host at {at}")
            }
            Self::Outgrown(key) => {
                let subnet = key.words();
                write!(f, "the network's configuration does not admit {subnet} any more")
            }
            Self::Unreadable(key) => write!(f, "the key {key} is in the way and cannot be read"),
        }
    }
}
