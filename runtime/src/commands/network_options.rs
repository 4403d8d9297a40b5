//! What `run` and `create` take about a container's network.

use crate::container::ports::{Binding, Publish};

/// A group of arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Network")]
#[group(skip)]
pub struct Args {
    /// Publish a port, or as many on both sides: [IP:][PORT[-LAST]:]PORT[-LAST][/tcp|udp|sctp]
    #[arg(short, long, value_name = "PORTS")]
    pub publish: Vec<Publish>,
    /// Publish every port that is exposed, each at a free one of the host
    #[arg(short = 'P', long)]
    pub publish_all: bool,
}

/// What of it a container to be is asked.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Of `-p`.
    pub bindings: Vec<Binding>,
    /// Of `-P`.
    pub publish_all: bool,
}

impl Args {
    /// For the library.
    #[must_use]
    pub fn wishes(&self) -> Wishes {
        Wishes {
            bindings: self.publish.iter().flat_map(|Publish(all)| all.clone()).collect(),
            publish_all: self.publish_all,
        }
    }
}
