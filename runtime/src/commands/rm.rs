//! `twill rm`: containers and everything that they left.

use crate::commands::{Code, each};
use crate::container::Store;
use crate::container::end::{self, Removal};
use crate::{Error, Paths, output};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Kill what still runs; a container that is not there is no failure
    #[arg(short, long)]
    pub force: bool,
    /// Remove its volumes without a name, too
    #[arg(short, long)]
    pub volumes: bool,
    /// Names, ids or starts of ids
    #[arg(required = true)]
    pub containers: Vec<String>,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let store = Store::new(paths);
    let mut code = Code::OK;
    for name in &args.containers {
        let removed = each::one(&store, name).and_then(|container| {
            let how = Removal { force: args.force, volumes: args.volumes };
            end::remove(&store, &container, how)?;
            output::line(name);
            Ok(())
        });
        let removed = match removed {
            Err(Error::Decode { .. }) if args.force => {
                store.discard(name).map(|()| output::line(name))
            }
            removed => removed,
        };
        match removed {
            Ok(()) => {}
            Err(error @ Error::NoSuchContainer(_)) if args.force => each::complain(&error),
            Err(error) => {
                each::complain(&error);
                code = Code(1);
            }
        }
    }
    // What was asked for is done by now.
    if args.force
        && let Err(error) = store.tidy()
    {
        output::note(format_args!("twill: warning: {}", error.chain()));
    }
    Ok(code)
}
