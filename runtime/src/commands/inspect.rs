//! `twill inspect`: all that is known, in Docker's field names.

use crate::commands::{Code, each};
use crate::container::Store;
use crate::{Error, Paths, image, inspect, output};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Names, ids or starts of ids
    #[arg(required = true)]
    pub names: Vec<String>,
}

/// Does it. Those that were found are shown even if another was not.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let store = Store::new(paths);
    let images = image::Store::open(paths)?;
    let (mut found, mut code) = (Vec::new(), Code::OK);
    for name in &args.names {
        match each::one(&store, name) {
            Ok(container) => found.push(inspect::container(paths, &container)),
            Err(Error::NoSuchContainer(_)) => match images.resolve(name) {
                Ok(image) => found.push(inspect::image(&image)),
                Err(image::Error::Unknown { .. }) => {
                    output::note(format_args!("twill: No such object: {name}"));
                    code = Code(1);
                }
                Err(error) => return Err(error.into()),
            },
            Err(error) => return Err(error.into()),
        }
    }
    output::line(format_args!("{:#}", serde_json::Value::Array(found)));
    Ok(code)
}
